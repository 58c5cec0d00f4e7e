"""`rankloop bench` over a real version, in the service's own batches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from contract.artifact import MANIFEST
from contract.store import Store
from service.bench import source
from service.bench.command import app
from tests import models

TREE = Path(__file__).parents[2]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    models.make(tmp_path / "version", precisions=("float32", "int8"))
    return tmp_path / "version"


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env=environment)


def test_a_version_is_measured_and_the_settings_are_printed(version: Path, tmp_path: Path) -> None:
    asked, out = tmp_path / "requests.jsonl", tmp_path / "out.json"
    documents = [f"{number} is the one" for number in range(12)]
    asked.write_text(json.dumps({"query": "which one", "documents": documents}))

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "rankloop", "bench", "--folder", version),
            *("--requests", asked, "--seconds", "0.1", "--price", "1", "--json", out),
        ],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    said = json.loads(out.read_text())
    assert said["version"] == models.version(version)
    assert ran.stdout.splitlines()[-3:] == [
        f"{name}={value}" for name, value in said["settings"].items()
    ]
    looked = [row["look"] for row in said["tried"] if row["look"]]
    # Both files are the same graph; a Python with ONNX Runtime has more than 30 MiB.
    assert {look["overlap"] for look in looked} == {1.0}
    assert all(look["peak_bytes"] > 30 << 20 for look in looked)
    assert all(look["small_s"] > 0 and look["large_s"] > 0 for look in looked)
    assert {row["precision"] for row in said["tried"]} == {"float32", "int8"}
    # Pairs that run alone are not tried with several sizes of a batch.
    assert {row["batch_tokens"] for row in said["tried"] if row["precision"] == "int8"} == {1024}
    quickest = next(row for row in said["tried"] if said["recommended"].items() <= row.items())
    assert said["price_of_a_million"] == pytest.approx(1e6 / 3600 / quickest["documents_per_s"])


def test_a_version_of_the_store_is_found_by_its_name(version: Path, tmp_path: Path) -> None:
    name = Store(str(tmp_path / "artifacts")).put(version)

    found = source.stored(
        name, artifacts_url=str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache"
    )

    assert source.in_folder(found).version == name


def test_what_cannot_be_measured_is_a_message_and_no_traceback(
    version: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()

    for arguments, reason in (
        (("--folder", tmp_path), f"there is no {MANIFEST}"),
        (("--folder", version, "--requests", empty), "has no requests"),
        (("--folder", version, "--requests", tmp_path / "away"), "No such file"),
        (("--folder", version, "--base", "minilm"), "name one of"),
        (("--version", "0" * 64), "RANKLOOP_ARTIFACTS_URL"),
    ):
        ran = run(*arguments)
        assert ran.exit_code == 1
        assert reason in ran.stderr.replace("\n", " ")
        assert "Traceback" not in ran.stderr


def test_a_damaged_version_is_refused(version: Path) -> None:
    (version / "int8.onnx").write_bytes(b"nothing")

    ran = run("--folder", version)

    assert ran.exit_code == 1
    assert "int8.onnx does not match its hash" in ran.stderr


def test_a_base_is_not_exported_without_the_trainers_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "find_spec", lambda _: None)

    ran = run("--base", "minilm")

    assert ran.exit_code == 1
    assert "name a version with --version or --folder" in ran.stderr


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Traceback ...\ntrainer.base.BaseRefused: it is no model\n", "it is no model"),
        ("Killed\n", "Killed"),
        ("", "no reason was given"),
    ],
)
def test_why_a_base_was_not_exported_is_said(
    monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    def refused(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, "", said)

    monkeypatch.setattr(subprocess, "run", refused)

    with (
        pytest.raises(source.NoVersion, match=f"the base was not exported: {reason}$"),
        source.exported("it"),
    ):
        pass
