"""`rankloop bench`: a version of the model on this machine, and the settings that serve it best."""

import json as jsonlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console

from contract.refusals import Refusal
from service import device
from service.bench import report, requests, source
from service.bench.measure import Measured, measured
from service.settings import Device, ServiceSettings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_TELLING: Final = Console(highlight=False, markup=False, soft_wrap=True)
_SAYING: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class _Settings(BaseSettings):
    """Some of the service's own."""

    model_config = SettingsConfigDict(env_prefix="RANKLOOP_", env_ignore_empty=True)

    artifacts_url: str | None = None
    cache_dir: Path | None = None
    service_device: Device = ServiceSettings.model_fields["service_device"].default


@app.command()
def main(
    *,
    version: Annotated[str | None, typer.Option(help="As `status --json` lists it.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Of a version (its manifest.json).")] = None,
    base: Annotated[
        str | None,
        typer.Option(help="A starting model, exported for this; minilm where nothing is named."),
    ] = None,
    asked: Annotated[
        Path | None,
        typer.Option(
            "--requests",
            help='Your requests as JSON lines: {"query": "...", "documents": ["...", ...]}; without, a shipped sample.',
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="About how long to measure.")] = 45.0,
    overlap: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Recommend no precision that shares less of float32's first ten."
        ),
    ] = 0.0,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of an hour of this machine, in any currency.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write all of it to this file too.")
    ] = None,
) -> None:
    """Measure a version on this machine with the service's own batches, and print the settings to use."""
    if sum(each is not None for each in (version, folder, base)) > 1:
        _refuse("name one of --version, --folder and --base")
    try:
        taken = requests.sample() if asked is None else requests.read(asked)
        with _folder(version=version, folder=folder, base=base) as place:
            found = _measured(place, taken, seconds=seconds, min_overlap=overlap)
    except Refusal as refusal:
        _refuse(str(refusal))
    _show(found, price=price)
    if json is not None:
        _write(json, found, price=price)


@contextmanager
def _folder(*, version: str | None, folder: Path | None, base: str | None) -> Iterator[Path]:
    settings = _Settings()
    if folder is not None:
        yield folder
    elif version is not None:
        yield source.stored(
            version, artifacts_url=settings.artifacts_url, cache_dir=settings.cache_dir
        )
    else:
        name = base or source.DEFAULT_BASE
        with _SAYING.status(f"exporting {name}"), source.exported(name) as exported:
            yield exported


def _measured(
    folder: Path, taken: list[requests.Request], *, seconds: float, min_overlap: float
) -> Measured:
    manifest = source.in_folder(folder)
    runtime = device.choose(_Settings().service_device, threads=0)
    with _SAYING.status("starting") as status:
        return measured(
            folder,
            taken,
            manifest=manifest,
            runtime=runtime,
            seconds=seconds,
            min_overlap=min_overlap,
            told=status.update,
        )


def _show(found: Measured, *, price: float | None) -> None:
    _TELLING.print(report.heading(found))
    _TELLING.print(report.table(found))
    for line in (
        *report.reasons(found),
        *report.cost(found, price=price),
        "",
        *report.settings(found),
    ):
        _TELLING.print(line)


def _write(path: Path, found: Measured, *, price: float | None) -> None:
    try:
        path.write_text(jsonlib.dumps(report.as_json(found, price=price), indent=1) + "\n")
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _refuse(message: str) -> NoReturn:
    _SAYING.print(message, style="red")
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="rankloop bench")
