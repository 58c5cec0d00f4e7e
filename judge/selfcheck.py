"""How a judge watches itself: a few answers are judged twice, and a few worthless ones are slipped in."""

import hashlib
import logging
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from judge.metrics import Metrics
from judge.opinions import Judge, Opinion
from judge.probes import ATTACKS, Breaker, attacked, is_fooled
from judge.queue import Task

logger = logging.getLogger(__name__)

GOOD_FROM: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """Which answers are looked at again is a matter of their ids: all judges agree on it."""

    judge: Judge
    metrics: Metrics
    breaker: Breaker
    repeat_share: float
    probe_share: float

    def repeats(self, task: Task) -> bool:
        return _place(task.decision_id, "repeat") < self.repeat_share

    def probes(self, task: Task) -> bool:
        return _place(task.decision_id, "probe") < self.probe_share

    async def repeat(self, task: Task, opinion: Opinion) -> Opinion:
        """A second opinion, the documents the other way round.  Raises as `Judge.judged`."""
        again = await self.judge.judged(task.case(), replicate=1)
        self.metrics.count(again)
        self.metrics.repeats.inc()
        if _good(opinion) != _good(again):
            self.metrics.flips.inc()
        return again

    async def probe(self, task: Task) -> None:
        """One attack on the judge, around this task's texts.  Raises as `Judge.opinion`."""
        names = sorted(ATTACKS)
        attack = names[int(_place(task.decision_id, "attack") * len(names))]
        case = attacked(task.case(), self.judge.rubric, attack)
        opinion = await self.judge.opinion(case)
        self.metrics.count(opinion)
        if opinion.remembered:
            return  # no news
        fooled = is_fooled(opinion.verdict, case, opinion.presentation)
        self.metrics.probes.labels(attack, "fooled" if fooled else "held").inc()
        self.breaker.saw(fooled=fooled)
        if self.breaker.is_open:
            self.metrics.breaker.set(1)
            logger.error("judge.breaker reason=fooled by %s; no more answers are judged", attack)


def _good(opinion: Opinion) -> set[int | None]:
    """Of what the verdict thinks well, by places in the case."""
    return {
        None if finding.document is None else opinion.presentation[finding.document]
        for finding in opinion.verdict.findings
        if finding.value >= GOOD_FROM
    }


def _place(decision_id: UUID, purpose: str) -> float:
    """In [0, 1), as good as random and the same for everybody."""
    digest = hashlib.blake2b(decision_id.bytes, digest_size=8, person=purpose.encode()).digest()
    return int.from_bytes(digest) / 2**64
