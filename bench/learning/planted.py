"""Candidates that are known to be bad are put through the trainer's own gate: none may be promoted.

    python -m bench.learning.planted --data DIR [--threads 1]

Three ways to be bad: the model is (`bench.learning.bad_models`), the log is that judges it (`bench.learning.bad_logs`),
or its files are (`bench.learning.bad_files`, through a real export). Each candidate gets a log of its own and is asked
as the only one of a first round, at the level that such a round has: as leniently as the gate ever asks. Both ways to
judge are asked, the log and the reader that answers again; a candidate is promoted if either lets it through.
"""

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench.learning import bad_files, bad_logs, bad_models, ground, worlds
from bench.learning.bad_files import Tried
from bench.learning.bad_logs import Spoil
from bench.learning.bad_models import Bad
from bench.learning.ground import Ground
from bench.learning.studio import Studio
from trainer import gate, replay
from trainer.evidence import Scores
from trainer.gate import Answer, Verdict
from trainer.join import PropensitiesWrong
from trainer.replay import Replay, Request
from trainer.settings import TrainerSettings

logger = logging.getLogger("bench.learning.planted")

OUT: Final = Path(__file__).parents[1] / "results" / "learning" / "planted.json"
SEED: Final = 1
OF_EACH: Final = 3
ALPHA: Final = gate.spent(
    TrainerSettings.model_construct().trainer_alpha, round_number=1, candidates=1
)
EXPECTED_GAIN: Final = 1.0
"""The gate wants more queries for a small gain; nothing is refused here for promising little."""
PROMOTED: Final = "promoted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one candidate."""

    candidate: str
    kind: str
    verdict: str
    """Of the stage that stopped it, or that it was promoted."""
    stage: str
    reason: str
    truth: float | None
    """How much more its greedy orders are worth than the champion's; None where it never scored anything."""
    truth_explored: float | None = None
    """The same of the policies that explore: what a log estimates."""
    answers: dict[str, str] = field(default_factory=dict)
    """Of each question of the gate by itself, whatever those before it said."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    torch.set_num_threads(options.threads)
    begun = time.monotonic()
    world = worlds.load("handbook", options.data)
    planted = Ground.of(world, Studio(max_bytes=4 << 30), seed=SEED)
    rows = []
    for row in _rows(planted):
        rows.append(row)
        logger.info("%3d %s: %s", len(rows), row.kind, asdict(row))
    told = summed(rows) | {"seconds": round(time.monotonic() - begun)}
    OUT.write_text(
        json.dumps(told | {"rows": [asdict(row) for row in rows]}, indent=1) + "\n",
        encoding="utf-8",
    )
    logger.info("%s", told)
    return 0


def _rows(planted: Ground) -> Iterator[Row]:
    judge = Judge(ground=planted)
    for bad in bad_models.made(planted, bad_models.KINDS, of_each=OF_EACH):
        yield judge.row(bad)
    victims = bad_models.victims(planted)
    for number, (kind, name, spoil) in enumerate(bad_logs.spoils(planted.studio.start)):
        victim = victims[number % len(victims)]
        yield judge.row(replace(victim, kind=kind), spoil=spoil, log=name)
    for tried in bad_files.tried(planted):
        yield _of_files(tried) if tried.bad is None else judge.row(tried.bad)


def _of_files(tried: Tried) -> Row:
    refused = tried.refusal is not None
    return Row(
        candidate=tried.name,
        kind=tried.kind,
        verdict=Answer.REFUSE if refused else PROMOTED,
        stage=tried.stage,
        reason=tried.refusal or "nothing refused it",
        truth=None,
    )


@dataclass(kw_only=True)
class Judge:
    """The gate over one ground; each candidate has a log and replays of its own."""

    ground: Ground
    asked: int = 0

    def row(self, bad: Bad, *, spoil: Spoil = bad_logs.sound, log: str = "") -> Row:
        self.asked += 1
        rng = np.random.default_rng([self.asked, 8])
        examples = spoil(self.ground.log(seed=self.asked), bad.scores, rng)
        quarantined = bad_logs.is_quarantined(examples)
        remembered = self._golden(bad.scores)
        replayed = self._replay(bad.scores, rng)
        offline = gate.offline(
            bad.scores,
            self.ground.champion,
            examples,
            alpha=ALPHA,
            expected_gain=EXPECTED_GAIN,
            seed=self.asked,
        )
        verdict, stage, reason = ended(remembered, offline, replayed, quarantined=quarantined)
        return Row(
            candidate=f"{bad.scores.version}; {log}" if log else bad.scores.version,
            kind=bad.kind,
            verdict=verdict,
            stage=stage,
            reason=reason,
            truth=round(bad.truth, 5),
            truth_explored=round(bad.truth_explored, 5),
            answers={
                "read": Answer.REFUSE if quarantined else Answer.PASS,
                **{each.kind: each.answer for each in (remembered, offline, replayed)},
            },
        )

    def _golden(self, candidate: Scores) -> Verdict:
        golden = self.ground.studio.golden
        return gate.golden(golden.ndcg(candidate), golden.ndcg(self.ground.champion))

    def _replay(self, candidate: Scores, rng: np.random.Generator) -> Verdict:
        """The reader answers anew, judged as noisily as ever; no answer is missing."""
        world = self.ground.judged
        requests = [
            Request(
                query=question.query,
                candidates=question.candidates,
                used=world.used,
                cluster=at,
            )
            for at, question in enumerate(world.train)
        ]
        noise = replace(world.noise, missing=0.0)

        def judged(query: str, documents: Sequence[str]) -> float:
            return noise.seen(world.read(query, documents), rng) or 0.0

        pairs = replay.pairs(requests, champion=self.ground.champion, candidate=candidate)
        return gate.replay(Replay(pairs=pairs, value=judged, budget=2 * len(pairs)), alpha=ALPHA)


def ended(
    remembered: Verdict, offline: Verdict, replayed: Verdict, *, quarantined: bool
) -> tuple[str, str, str]:
    """Verdict, stage and reason: in the order of a round, the log last, unless the replay lets it through."""
    if remembered.answer is not Answer.PASS:
        return remembered.answer, remembered.kind, remembered.reason
    if replayed.answer is Answer.PASS:
        return PROMOTED, replayed.kind, replayed.reason
    if quarantined:
        return Answer.REFUSE, "read", str(PropensitiesWrong.__doc__)
    if offline.answer is Answer.PASS:
        return PROMOTED, offline.kind, offline.reason
    return offline.answer, offline.kind, offline.reason


def summed(rows: Sequence[Row]) -> dict[str, Any]:
    def counted(of: Callable[[Row], str]) -> dict[str, int]:
        return dict(sorted(Counter(of(row) for row in rows).items()))

    def alone(question: gate.Kind) -> int:
        return sum(row.answers.get(question) == Answer.PASS for row in rows)

    return {
        "command": "python -m bench.learning.planted --data DIR",
        "questions": ground.JUDGED,
        "alpha": round(ALPHA, 4),
        "candidates": len(rows),
        "kinds": len({row.kind for row in rows}),
        "promoted": sum(row.verdict == PROMOTED for row in rows),
        "verdicts": counted(lambda row: row.verdict),
        "stages": counted(lambda row: row.stage),
        "passed_the_log_alone": alone(gate.Kind.OFFLINE),
        "passed_the_replay_alone": alone(gate.Kind.REPLAY),
        "passed_the_golden_set": alone(gate.Kind.GOLDEN),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning.planted",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
