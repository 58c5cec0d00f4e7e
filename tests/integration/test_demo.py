"""`rankloop demo` from beginning to end, over a tiny model and a tiny question set."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import tiny

RIVERS = {"Cologne": "Rhine", "Paris": "Seine", "London": "Thames", "Vienna": "Danube"}
WORDS = ["which", "river", "does", "lie", "on", "the", "lies", "##s", *RIVERS, *RIVERS.values()]
DECISIONS = 30


@pytest.fixture
def short() -> Iterator[Path]:
    # Not pytest's own folder: a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="rl") as folder:
        yield Path(folder)


def rivers(folder: Path) -> Path:
    """A question set about four rivers."""
    folder.mkdir()
    passages, questions = [], {"train": [], "test": []}  # type: ignore[var-annotated]
    for split, rows in questions.items():
        for city, river in RIVERS.items():
            text = f"{city} lies on the {river}."
            passages.append({"id": f"{split} {city}", "title": city, "split": split, "text": text})
            question = f"Which river does {city} lie on?"
            gold = {"answers": [river], "passage_id": f"{split} {city}", "title": city}
            rows.append({"id": f"{split} {city}", "question": question, **gold})
    for name, rows in (
        ("passages", passages),
        *((f"questions.{k}", v) for k, v in questions.items()),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_demo_ends_by_itself_and_leaves_its_results_and_no_process(short: Path) -> None:
    base = tiny.cross_encoder(short, [word.lower() for word in WORDS])
    command: list[str | Path] = [
        *(sys.executable, "-m", "rankloop", "demo", "--headless"),
        *("--data", rivers(short / "rivers"), "--base", base, "--home", short / "home"),
        *("--decisions", str(DECISIONS), "--rate", "100", "--results", short / "results"),
    ]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "RANKLOOP_TRAINER_REWARD_WAIT_S": "1"}

    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    (run,) = json.loads((short / "results" / "demo-rivers.json").read_text())
    assert (run["seed"], run["decisions"], run["failed_requests"]) == (1, DECISIONS, 0)
    assert 0 < run["start"] <= 1
    assert run["interval"][0] <= run["final"] - run["start"] <= run["interval"][1]
    assert (short / "results" / "demo-rivers.png").stat().st_size > 0
    assert "settings that differ from the defaults" in ended.stdout
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(short) in str(process.info["cmdline"])
    ]
    assert left == []
