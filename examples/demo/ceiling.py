"""What the starting model could have become: the same weights taught by gold labels of the same questions."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.demo.application import TOP_N, Answered, Application, ReaderFailed
from examples.demo.worlds import Ask

VERSION = "gold labels"


class CeilingFailed(Exception):
    """The supervised training ended with an error."""


def train(
    asks: Sequence[Ask], held_out: Sequence[Ask], *, base: str, events: int, seed: int, folder: Path
) -> list[list[int]]:
    """For each held-out ask its documents' positions, best first. Raises `CeilingFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    questions, judged = folder / "train.jsonl", folder / "held_out.jsonl"
    scores, log = folder / "scores.jsonl", folder / "log"
    _write(questions, asks)
    _write(judged, held_out)
    with log.open("wb") as output:
        command: list[str | Path] = [
            *(sys.executable, "-m", "trainer.supervised", "--questions", questions),
            *("--events", str(events), "--seed", str(seed), "--threads", str(os.cpu_count())),
            *("--base", base, "--out", folder / "model"),
            *("--evaluate", judged, "--scores", scores),
        ]
        ended = subprocess.run(command, stdout=output, stderr=output, check=False)
    if ended.returncode != 0:
        raise CeilingFailed(f"trainer.supervised failed, see {log}")
    rows = [json.loads(line)["scores"] for line in scores.read_text().splitlines()]
    return [_best_first(row) for row in rows]


async def answers(
    application: Application, asks: Sequence[Ask], orders: Sequence[Sequence[int]]
) -> list[Answered]:
    """The same reader, given what these orders put on top; what it could not answer is left out."""

    async def one(ask: Ask, order: Sequence[int]) -> Answered | None:
        used = [ask.documents[position].text for position in order[:TOP_N]]
        try:
            answer, _ = await application.read(ask, used)
        except ReaderFailed:
            return None
        quality = application.world.grade(ask, used, answer)
        return Answered(
            ask=ask,
            decision_id="",
            version=VERSION,
            used=tuple(used),
            answer=answer,
            quality=quality,
        )

    answered = [await one(ask, order) for ask, order in zip(asks, orders, strict=True)]
    return [each for each in answered if each is not None]


def _best_first(scores: Sequence[float]) -> list[int]:
    """Equal scores in request order, as the service breaks ties."""
    return sorted(range(len(scores)), key=lambda position: -scores[position])


def _write(path: Path, asks: Sequence[Ask]) -> None:
    path.write_text("".join(json.dumps(_row(ask)) + "\n" for ask in asks))


def _row(ask: Ask) -> dict[str, object]:
    return {
        "query": ask.text,
        "documents": [{"text": one.text, "score": one.score} for one in ask.documents],
        "gold": [place for place, one in enumerate(ask.documents) if one.id in ask.gold],
    }
