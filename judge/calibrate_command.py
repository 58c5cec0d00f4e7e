"""`rankloop judge`: how far the configured LLM can be believed, measured on answers that people judged."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from judge.gold import FileRefused
from judge.refusals import in_words
from judge.reports import Sample, reported
from judge.rubric import Kind, Rubric, RubricRefused
from judge.settings import JudgeSettings
from judge.state import CapReached

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The LLM judge.",
)

TELLING: Final = Console(highlight=False, markup=False, soft_wrap=True)
SAYING: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
BAD_INPUT: Final = 2

_RATES: Final = {
    "agreement": "agreement",
    "kappa": "Cohen's kappa",
    "true_positive_rate": "true positive rate",
    "true_negative_rate": "true negative rate",
    "false_positive_rate": "false positive rate",
}
_OF: Final = {"gold": "of the gold", "answers": "of the answers"}


@app.callback()
def group() -> None:
    """Without it, a single command would not be named on the command line."""


@app.command()
def calibrate(
    *,
    gold: Annotated[Path, typer.Option(help="JSON lines: query, documents, answer, gold.")],
    answers: Annotated[
        Path | None,
        typer.Option(help="Such lines without gold, from your traffic: how many are good?"),
    ] = None,
    rubric: Annotated[
        list[str] | None,
        typer.Option(help="A shipped rubric or a file, or several; without, the judge's."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Scores and gold from here on mean a good answer.")
    ] = 0.5,
    out: Annotated[Path | None, typer.Option(help="A file for the reports, as JSON.")] = None,
) -> None:
    """Measure the judge on answers that people judged; 1 where it gave no verdict at all."""
    settings = _settings()
    rubrics = [_rubric(name) for name in rubric or [settings.rubric]]
    try:
        sample = Sample.read(gold, answers, threshold=threshold)
    except FileRefused as refusal:
        _refuse(str(refusal))
    if out is not None:
        _write(out, "", mode="a")  # before an LLM is paid for a report that cannot be kept
    try:
        reports = asyncio.run(_reports(sample, rubrics, settings))
    except CapReached:
        _refuse(
            "RANKLOOP_JUDGE_DAILY_COST does not suffice; what was asked is remembered, so tomorrow goes on"
        )
    if out is not None:
        _write(out, json.dumps(reports, indent=1, ensure_ascii=False) + "\n")
    show(TELLING, reports)
    if not any(report["n"] for report in reports):
        raise typer.Exit(1)


def show(console: Console, reports: Sequence[dict[str, Any]]) -> None:
    """A column for each report."""
    columns = [_cells(report) for report in reports]
    rubrics = [report["rubric"] for report in reports]
    table = Table("", *(f"{rubric['id']}@{rubric['version']}" for rubric in rubrics))
    for name in columns[0]:
        table.add_row(name, *(Text(column[name]) for column in columns))
    console.print(table)


def _cells(report: dict[str, Any]) -> dict[str, str]:
    """By the name of the row; the same names in every report of a sample."""
    share = report["prevalence"]
    return {
        "model": report["model"],
        "gold answers judged": str(report["n"]),
        "without a verdict": str(report["errors"]),
        **{name: _interval(report[field]) for field, name in _RATES.items()},
        f"good {_OF[share['of']]}, as judged": _interval(share["raw"]),
        f"good {_OF[share['of']]}, corrected": _interval(share["corrected"]),
    }


def _interval(estimate: dict[str, float] | None) -> str:
    return "-" if estimate is None else "{value:.2f} ({low:.2f} to {high:.2f})".format(**estimate)


async def _reports(
    sample: Sample, rubrics: Sequence[Rubric], settings: JudgeSettings
) -> list[dict[str, Any]]:
    """Rubrics in turn: their answers share the LLM's places."""
    with Progress(console=SAYING, transient=True) as progress:
        bar = progress.add_task("judging", total=len(rubrics) * len(sample.rows))
        return [
            await reported(sample, rubric, settings=settings, told=lambda: progress.advance(bar))
            for rubric in rubrics
        ]


def _settings() -> JudgeSettings:
    try:
        settings = JudgeSettings()
    except ValidationError as error:
        _refuse(in_words(error))
    except SettingsError as error:
        _refuse(str(error))
    if settings.llm_url is None:
        _refuse("RANKLOOP_JUDGE_LLM_URL is not set: there is no LLM to ask")
    return settings


def _rubric(name: str) -> Rubric:
    try:
        rubric = Rubric.named(name)
    except RubricRefused as refusal:
        _refuse(str(refusal))
    if rubric.kind is Kind.DOCUMENTS:
        _refuse(f"{name}: judges documents, and gold says how good answers are")
    if rubric.kind is Kind.PAIR:
        _refuse(f"{name}: compares two answers, and gold says how good one is")
    return rubric


def _write(path: Path, text: str, *, mode: Literal["a", "w"] = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _refuse(message: str) -> NoReturn:
    SAYING.print(message, style="red")
    raise typer.Exit(BAD_INPUT)


if __name__ == "__main__":
    app(prog_name="rankloop judge")
