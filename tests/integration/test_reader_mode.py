"""`rankloop train` from beginning to end: a reader on a socket, a tiny model, a tiny question set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.artifact import MANIFEST, Manifest, verified
from tests import trainees
from tests.scripted_llm import ScriptedLlm, scripted_llm
from trainer import export
from trainer.train_commands import app

TREE = Path(__file__).parents[2]
PLAIN = [word for word in trainees.WORDS if word != "new"]
SPLITS = {"train": 60, "validation": 30, "test": 110}


def think(prompt: str) -> str:
    """The reader knows the answer where the first passage of its own prompt says new."""
    own = prompt.rpartition("\n\n")[2]
    return " yes\n" if " new" in own.splitlines()[0] else " no\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Questions about words, each found in several passages of which some say new."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "words"
    folder.mkdir()
    passages = []
    for split in ("train", "test"):
        for number in range(60):
            words = [*rng.choice(PLAIN, size=3), *(["new"] if number % 4 == 0 else [])]
            text = " ".join(words)
            passages.append({"id": f"{split}{number}", "title": "", "text": text, "split": split})
    _write(folder / "passages.jsonl", passages)
    for split, n in SPLITS.items():
        rows = [
            {
                "id": f"{split}{number}",
                "question": " ".join(rng.choice(PLAIN, size=5)),
                "answers": ["yes"],
                "passage_id": "none",
                "title": f"{number}",
            }
            for number in range(n)
        ]
        _write(folder / f"questions.{split}.jsonl", rows)
    return folder


def _write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def arguments(llm: ScriptedLlm, data: Path, out: Path, *more: str) -> list[str]:
    base = out.parent / "base"
    if not base.exists():
        trainees.base(base)
    given: list[str | Path] = [
        *("--reader", llm.url, "--data", data, "--out", out, "--base", base, "--threads", "1"),
        *("--used", "1", "--candidates", "6", "--rounds", "3", "--lr", "3e-3", "--kl", "0.02"),
        *more,
    ]
    return [str(each) for each in given]


def train(llm: ScriptedLlm, data: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rankloop", "train", *arguments(llm, data, out)],
        cwd=TREE,
        env={**os.environ, "PYTHONPATH": str(TREE), "RANKLOOP_CLI_READER_KEY": "secret"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_teaches_a_version_that_passes_on_held_out_questions(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "trained"

    with scripted_llm(think=think) as llm:
        ran = train(llm, data, out)
        again = train(llm, data, out)

    assert ran.returncode == 0, ran.stderr
    assert llm.headers[0]["Authorization"] == "Bearer secret"
    report = json.loads((out / "report.json").read_text())
    manifest = Manifest.of_json((out / "candidate" / MANIFEST).read_bytes())
    verified(out / "candidate", manifest.version)
    assert (report["candidate"], report["reference"]) == (manifest.version, manifest.parent)
    (*_, verdict) = report["verdicts"]
    assert [each["kind"] for each in report["verdicts"]] == ["parity", "golden", "replay"]
    assert verdict["answer"] == "pass", verdict["reason"]
    (f1, *_) = report["rows"]
    assert f1["metric"] == "f1"
    # The gate's difference is the report's: the answers are the same ones.
    assert verdict["estimate"] == pytest.approx(f1["after"] - f1["before"])
    assert f1["gain"]["low"] < f1["gain"]["value"] < f1["gain"]["high"]
    assert "held-out answers" in ran.stdout
    assert manifest.version in ran.stdout
    # A second run asks for nothing: every answer is remembered.
    assert again.returncode == 0, again.stderr
    assert "0 calls of the reader" in again.stdout


def test_a_reader_that_stops_answering_ends_the_run_which_then_goes_on(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "trained"

    with scripted_llm(think=think) as llm:
        stopped = CliRunner().invoke(app, arguments(llm, data, out, "--max-calls", "40"))
        asked = len(llm.requests)

    assert stopped.exit_code == 1
    assert "the 40 calls that were allowed are spent" in stopped.stderr
    assert asked == len((out / "answers.jsonl").read_text().splitlines()) == 40


def test_a_folder_that_cannot_judge_is_refused(data: Path, tmp_path: Path) -> None:
    (data / "questions.test.jsonl").unlink()

    with scripted_llm(think=think) as llm:
        ran = CliRunner().invoke(app, arguments(llm, data, tmp_path / "trained"))

    assert ran.exit_code == 1
    assert "has no test question with an answer" in ran.stderr
    assert llm.requests == []


def test_a_version_can_be_the_start_and_stays_where_nothing_is_better(
    data: Path, tmp_path: Path
) -> None:
    start, out = tmp_path / "start", tmp_path / "trained"
    made = export.export_base(str(trainees.base(tmp_path / "base")), start, precisions=["float32"])

    with scripted_llm(think=lambda _: "no") as llm:
        given = arguments(llm, data, out, "--base", str(start), "--rounds", "1")
        ran = CliRunner().invoke(app, given)

    assert ran.exit_code == 0, ran.output
    report = json.loads((out / "report.json").read_text())
    assert (report["reference"], report["candidate"]) == (made.manifest.version, None)
    assert report["tune"] == [0, 0]
    assert report["rows"] == report["verdicts"] == []
    assert "nothing to judge" in ran.stdout
    assert sorted(path.name for path in out.iterdir()) == ["answers.jsonl", "report.json"]
