"""The scripted judge: it knows the truth and is wrong a known share of the time, as calibration has to find out."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from examples.demo import endpoint
from examples.demo.application import Answered
from examples.demo.worlds import World

MODEL: Final = "scripted-judge"
WRONG: Final = 0.1
"""Of good answers called bad, and of bad ones called good."""
FIGURES: Final = ("agreement", "kappa", "true_positive_rate", "true_negative_rate")

_PART: Final = re.compile(
    r"^=== begin (?P<name>.+?) (?P<word>\w{32}) ===\n(?P<text>.*?)\n=== end (?P=name) (?P=word) ===$",
    flags=re.MULTILINE | re.DOTALL,
)


class CalibrationFailed(Exception):
    """`rankloop judge calibrate` ended badly; the message is what it said."""


def running(world: World) -> AbstractContextManager[str]:
    """The judge's LLM behind an endpoint of its own; yields its base URL."""
    asks = {ask.text: ask for ask in (*world.train, *world.held_out)}

    def say(message: str) -> str:
        parts = {part["name"]: part["text"] for part in _PART.finditer(message)}
        question, answer = parts["question"], parts["answer"]
        truth = world.grade(asks[question], [], answer)
        score = 1 - truth if is_wrong(question, answer) else truth
        return json.dumps({"rationale": "It is scripted.", "injection": False, "score": score})

    return endpoint.running(say)


def is_wrong(question: str, answer: str) -> bool:
    """Always or never of the same answer, as a language model at temperature 0."""
    digest = hashlib.sha256(f"{question}\0{answer}".encode()).digest()
    return int.from_bytes(digest[:8]) < WRONG * 2**64


def settings(url: str) -> dict[str, str]:
    """Of a sidecar that asks it."""
    return {
        "RANKLOOP_JUDGE_LLM_URL": url,
        "RANKLOOP_JUDGE_LLM_MODEL": MODEL,
        "RANKLOOP_JUDGE_LLM_CALLS_PER_MINUTE": "60000",
    }


def calibrated(answers: Sequence[Answered], *, url: str, folder: Path) -> Mapping[str, Any]:
    """What `rankloop judge calibrate` finds on answers whose truth is known.  Raises `CalibrationFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    gold, report = folder / "gold.jsonl", folder / "report.json"
    gold.write_text("\n".join(json.dumps(_row(each)) for each in answers))
    command = [sys.executable, "-m", "rankloop", "judge", "calibrate"]
    ended = subprocess.run(
        [*command, "--gold", str(gold), "--out", str(report)],
        env={**os.environ, **settings(url)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise CalibrationFailed(ended.stderr.strip())
    (found,) = json.loads(report.read_text())
    return {"wrong": WRONG, **{name: found[name] for name in ("n", "errors", *FIGURES)}}


def _row(answered: Answered) -> dict[str, Any]:
    return {
        "id": answered.decision_id,
        "query": answered.ask.text,
        "documents": list(answered.used),
        "answer": answered.answer,
        "gold": answered.quality,
    }
