"""The house itself: what the wheel holds, what is pinned, what make and the images promise."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic_settings import BaseSettings

from judge.settings import JudgeSettings
from service.settings import ServiceSettings
from trainer.settings import TrainerSettings

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FRAMEWORKS = ("haystack", "langchain", "llamaindex")
"""Extras that are tested in an environment of their own."""


def _pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


PINS = _pins("constraints.txt")
NOW = (
    *("demo", "up", "test", "check", "compat", "fuzz"),
    *("bench-judge", "bench-learning", "bench-serving"),
)
LATER = ("prove", "browser")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    with zipfile.ZipFile(next(folder.glob("rankloop-*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_rankloop_alone(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}

    assert top == {"rankloop", "rankloop-0.1.0.dist-info"}


def test_the_wheel_needs_httpx_and_typer_alone(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read("rankloop-0.1.0.dist-info/METADATA").decode())

    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

    assert {need.name for need in needed if need.marker is None} == {"httpx", "typer"}


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    scripts = wheel.read("rankloop-0.1.0.dist-info/entry_points.txt").decode()

    assert "rankloop = rankloop.cli:app" in scripts


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_tested_release_is_pinned_for_what_an_extra_declares(extra: str) -> None:
    pins = _pins("bench/compat/requirements-frameworks.txt") if extra in FRAMEWORKS else PINS
    declared = [need for need in map(Requirement, EXTRAS[extra]) if need.name != "rankloop"]

    for need in declared:
        assert need.specifier.contains(pins[canonicalize_name(need.name)]), need


@pytest.mark.parametrize("extra", FRAMEWORKS)
def test_an_extra_brings_what_the_documented_lines_and_the_example_import(extra: str) -> None:
    chapter = rf"^## {extra}\n(.*?)^## "
    documented = re.search(
        chapter,
        (ROOT / "docs/integrations.md").read_text(),
        re.DOTALL | re.IGNORECASE | re.MULTILINE,
    )
    assert documented is not None
    text = documented[1] + (ROOT / f"examples/apps/{extra}_app.py").read_text()
    ours = {"examples", "rankloop", *sys.stdlib_module_names}

    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - ours

    # A distribution's name begins with that of its module: llama-index-core, llama_index.
    brought = [Requirement(need).name.replace("-", "_") for need in EXTRAS[extra]]
    assert imported
    assert [name for name in imported if not any(each.startswith(name) for each in brought)] == []


def test_constraints_pin_everything_that_an_install_brings() -> None:
    installed = dict(
        _closure("rankloop", {"service", "trainer", "judge", "embedded", "demo", "dev"})
    )

    assert {name: version for name, version in PINS.items() if name in installed} == installed


def test_constraints_name_releases_and_no_places() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    pins = [line for line in lines if not line.startswith("#")]

    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert pins == sorted(pins, key=str.lower)


def test_only_service_and_gpu_bring_an_onnx_runtime() -> None:
    # Two builds of it overwrite each other's files.
    brings = {
        extra: [need.name for need in map(Requirement, needs) if "onnxruntime" in need.name]
        for extra, needs in EXTRAS.items()
    }

    assert {extra: names for extra, names in brings.items() if names} == {
        "service": ["onnxruntime"],
        "gpu": ["onnxruntime-gpu"],
    }


@pytest.mark.parametrize("target", NOW)
def test_make_knows_the_target(target: str) -> None:
    assert _run("make", "--dry-run", target).returncode == 0


@pytest.mark.parametrize("target", LATER)
def test_a_target_that_is_not_built_yet_says_so(target: str) -> None:
    made = _run("make", target, check=False)

    assert made.returncode == 2
    assert made.stderr.startswith(f"make {target} is not built yet. It will run: ")


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    made = _run("make", f"VENV={tmp_path}/venv", f"PYTHON={old}", "install", check=False)

    assert made.returncode == 2
    assert made.stderr.startswith("Rankloop needs Python 3.11 or newer.")
    assert not (tmp_path / "venv").exists()


def test_compose_builds_stages_that_the_dockerfile_has() -> None:
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))

    built = {
        service["build"]["target"]
        for service in _compose()["services"].values()
        if "build" in service
    }

    assert built == {"service", "migrate", "trainer", "judge"} <= stages


def test_compose_opens_ports_on_loopback_alone() -> None:
    ports = [
        port for service in _compose()["services"].values() for port in service.get("ports", [])
    ]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize(
    ("process", "settings"),
    [
        ("service", ServiceSettings),
        ("register", TrainerSettings),
        ("trainer", TrainerSettings),
        ("judge", JudgeSettings),
    ],
)
def test_compose_sets_what_a_process_understands(
    process: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, str] = _compose()["services"][process]["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, _interpolated(value))

    understood = settings()

    # Every variable reached a field: none is ignored in silence.
    assert understood.model_fields_set >= {
        name.lower().removeprefix(str(settings.model_config["env_prefix"]).lower())
        for name, value in environment.items()
        if _interpolated(value)
    }


def test_compose_hands_on_all_that_replays_take_and_changes_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = _compose()["services"]
    trainer, judge = (services[name]["environment"] for name in ("trainer", "judge"))
    asking = {"PAIRS", "PAIRS_WAIT_S", "LEAVE_ONE_OUT", "REFERENCE"}
    playing = {name.upper() for name in JudgeSettings.model_fields if name.startswith("reader_")}

    assert {f"RANKLOOP_TRAINER_{name}" for name in asking} <= trainer.keys()
    assert {f"RANKLOOP_JUDGE_{name}" for name in playing | {"PAIR_RUBRIC"}} <= judge.keys()
    for name in trainer:
        monkeypatch.setenv(name, _interpolated(trainer[name]))
    understood, fields = TrainerSettings(), TrainerSettings.model_fields
    for name in (f"trainer_{name.lower()}" for name in asking):
        assert getattr(understood, name) == fields[name].default


def test_compose_holds_no_secret_of_its_own() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    secrets = re.findall(r"^ +(?:RANKLOOP_SECRET|POSTGRES_PASSWORD): (.*)$", text, re.MULTILINE)

    assert len(secrets) == 2
    assert [
        value for value in secrets if not re.fullmatch(r"\$\{\w+:\?set it in \.env\}", value)
    ] == []


def _closure(name: str, extras: set[str]) -> Iterator[tuple[str, str]]:
    """Every package that `name[extras]` brings into this environment, with its release."""
    waiting, seen = [(name, frozenset(extras))], set()
    while waiting:
        asked = waiting.pop()
        if asked in seen:
            continue
        seen.add(asked)
        found = distribution(asked[0])
        if asked[0] != name:
            yield canonicalize_name(asked[0]), found.version.split("+")[0]
        waiting += [
            (need.name, frozenset(need.extras))
            for need in map(Requirement, found.requires or [])
            if _applies(need, asked[1])
        ]


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    marker = need.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _interpolated(value: str) -> str:
    """As compose does it where .env sets the secrets and nothing else."""
    value = re.sub(r"\$\{\w+:\?[^}]*\}", "0123456789abcdef", value)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def _compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def _run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, check=check, capture_output=True, text=True)
