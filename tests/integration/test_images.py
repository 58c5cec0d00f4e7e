"""The images without an engine: what the Dockerfile copies and installs, in fresh environments.

The service's environment is made by the Dockerfile's own pip lines. They need the package index, as building the
images does; pip's own configuration says where that is. The two others stand on the same base and ask for other
extras: theirs are linked from the environment of the tests, which saves two minutes of unpacking the same wheels.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
MEGABYTE = 1e6
OWN_TESTS = (ROOT / "tests/unit/contract", ROOT / "tests/unit/service")
TEST_TOOLS = ("hypothesis", "onnx", "pytest", "pytest-asyncio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One target of the Dockerfile, built as far as that goes without root and without a base image."""

    app: Path
    """What it copies: the image's working folder."""
    environment: Path
    """What its pip lines ask for, and nothing else, not even pip."""

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(self.environment / "bin/python", *arguments, cwd=self.app, check=check)

    def pip(self, *arguments: str) -> None:
        outside = (sys.executable, "-m", "pip", "--python", self.environment, "--quiet")
        _run(*outside, *arguments, cwd=self.app)

    def add(self, *sources: Path) -> None:
        """Copies files and folders of the checkout to where they lie there."""
        for source in sources:
            _copy(source, self.app / source.relative_to(ROOT))

    def size_mb(self) -> float:
        files = (path for path in self.environment.rglob("*") if not path.is_symlink())
        return sum(path.stat().st_size for path in files if path.is_file()) / MEGABYTE


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Image:
    # The last stage of the chain: it is the service's, and the migrations beside it.
    image = _bare("migrate", tmp_path_factory.mktemp("service"))
    for line in _pip_lines("migrate"):
        image.pip(*line)
    return image


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return _linked("judge", tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return _linked("trainer", tmp_path_factory.mktemp("trainer"))


def test_keys_are_made_in_the_image_of_the_service(service: Image) -> None:
    said = _run(service.environment / "bin/rankloop", "keys", "--help", cwd=service.app)

    assert "Make a key and print it, once." in said.stdout


def test_the_service_has_no_torch(service: Image) -> None:
    tried = service.run("-c", "import torch", check=False)

    assert tried.returncode == 1
    assert "ModuleNotFoundError: No module named 'torch'" in tried.stderr


def test_the_service_image_holds_what_its_processes_import(service: Image) -> None:
    service.run("-c", "import service.app, service.__main__, migrations.__main__, rankloop.cli")


def test_the_service_environment_stays_small(service: Image) -> None:
    assert service.size_mb() < 400


def test_the_services_own_tests_pass_without_torch(service: Image) -> None:
    service.pip("install", "--constraint", "constraints.txt", *TEST_TOOLS)
    service.add(*ROOT.glob("tests/[!c]*.py"), *OWN_TESTS)  # less conftest.py: real servers

    ran = service.run("-m", "pytest", "--quiet", "-p", "no:cacheprovider", "tests", check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_judge_image_holds_what_it_imports(judge: Image) -> None:
    judge.run("-c", "import judge.__main__, judge.calibrate_command, rankloop.cli")


def test_the_trainer_image_holds_what_it_imports(trainer: Image) -> None:
    trainer.run("-c", "import trainer.__main__, trainer.register, rankloop.cli")


def _bare(target: str, folder: Path) -> Image:
    """The image before its pip lines."""
    image = Image(app=_copied(target, folder / "app"), environment=folder / "environment")
    venv.create(image.environment)
    return image


def _linked(target: str, folder: Path) -> Image:
    """The image with links in place of what its pip lines would unpack: they install this very folder, with extras."""
    image = _bare(target, folder)
    (packages,) = image.environment.glob("lib/python*/site-packages")
    for *_, asked in _pip_lines(target):
        for distribution in _needed(Requirement(f"rankloop{asked.removeprefix('.')}")):
            _link(distribution, packages)
    return image


def _needed(asked: Requirement) -> Iterator[Distribution]:
    """What pip would install beside the code itself: what is asked for, and what that asks for in turn."""
    seen: set[tuple[str, str]] = set()
    waiting = [asked]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        distribution = importlib.metadata.distribution(name)
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            needs = (Requirement(line) for line in distribution.requires or ())
            waiting += (
                need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})
            )
            if not extra and name != asked.name:
                yield distribution


def _link(distribution: Distribution, packages: Path) -> None:
    for file in distribution.files or ():
        if ".." in file.parts:  # its scripts
            continue
        link = packages / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(str(distribution.locate_file(file))))


def _copied(target: str, app: Path) -> Path:
    """The image's working folder, with what the stages up to `target` copy into it."""
    app.mkdir(parents=True)
    for sources, place in re.findall(r"^COPY (.+) (\S+)$", _stages(target), re.MULTILINE):
        for source in sources.split():
            _copy(ROOT / source, app / (source if place == "./" else place))
    return app


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _pip_lines(target: str) -> list[list[str]]:
    """The arguments of every `pip` that the stages up to `target` run."""
    lines = re.findall(r"^RUN .*?\bpip (install .+)$", _stages(target), re.MULTILINE)
    return [line.replace('"', "").split() for line in lines]


def _stages(target: str) -> str:
    """The Dockerfile's lines for `target`: its own stage after those that it stands on."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.search(
        rf"^FROM (\S+) AS {target}$(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None:
        return ""
    parent, lines = found.groups()
    return _stages(parent) + lines


def _run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PIP_NO_COMPILE": "1"}  # the images compile, the tests need not
    ran = subprocess.run(command, cwd=cwd, env=environ, check=False, capture_output=True, text=True)
    assert not check or ran.returncode == 0, ran.stdout + ran.stderr
    return ran
