"""An answer in hand: judged and the verdict posted, or it is posted why there is none."""

import logging
import time
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from judge.llm import LlmFailed
from judge.metrics import Metrics
from judge.opinions import Judge, Opinion, Suspected
from judge.queue import AWAY, Queue, Task
from judge.rubric import Kind
from judge.selfcheck import SelfCheck
from judge.settings import SHADOW, JudgeSettings
from judge.state import CapReached
from judge.statements import Statements

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Those that wait for a verdict, and all that it takes to come to one."""

    queue: Queue
    judge: Judge
    checks: SelfCheck
    settings: JudgeSettings
    metrics: Metrics

    def is_paused(self) -> bool:
        """Never: what keeps answers from being judged keeps everything."""
        return False

    async def lease(self) -> "Judging | None":
        task = await self.queue.lease()
        return None if task is None else Judging(desk=self, task=task)


@dataclass(slots=True, kw_only=True)
class Judging:
    """One of them, leased."""

    what: ClassVar = "verdict"

    desk: Answers
    task: Task
    opinion: Opinion | None = None
    """Once it is posted."""

    @property
    def decision_id(self) -> UUID:
        return self.task.decision_id

    @property
    def expires_in_s(self) -> float:
        return self.task.expires_in_s

    @property
    def attempts_left(self) -> int:
        return self.task.attempts_left

    async def do(self) -> None:
        """Posts what was found, also where that is no verdict."""
        started = time.monotonic()
        await self._judge()
        self.desk.metrics.latency.observe(time.monotonic() - started)

    async def _judge(self) -> None:
        desk, task = self.desk, self.task
        if (why := self._unjudgeable()) is not None:
            await self.end(why)
            return
        try:
            opinion = await desk.judge.judged(task.case())
        except Suspected as suspicion:
            await self.end(f"suspected injection: {suspicion}", "injection")
            return
        desk.metrics.count(opinion)
        await desk.queue.post(self._statements().of(opinion))
        desk.metrics.verdicts.inc()
        logger.info("verdict.posted decision=%s", task.decision_id)
        self.opinion = opinion

    def _unjudgeable(self) -> str | None:
        """Why the LLM has nothing to judge; None for most."""
        if not self.task.has_texts:
            return "the texts are not kept"
        if self.desk.judge.rubric.kind is Kind.DOCUMENTS and not self.task.documents:
            return "no document was used"
        return None

    async def check(self) -> None:
        """The verdict stands, whatever becomes of the checks; a second one is to be seen, and no reward."""
        if self.opinion is None:
            return
        desk, task = self.desk, self.task
        try:
            if desk.checks.repeats(task):
                again = await desk.checks.repeat(task, self.opinion)
                await desk.queue.post(self._statements(SHADOW, replicate=1).of(again))
            if desk.checks.probes(task):
                await desk.checks.probe(task)
        except (CapReached, LlmFailed, Suspected, *AWAY) as error:
            logger.info("check.failed decision=%s reason=%s", task.decision_id, error)

    async def end(self, why: str, *flags: str) -> None:
        self.desk.metrics.unobserved.labels(why.partition(":")[0]).inc()
        logger.info("verdict.unobserved decision=%s reason=%s", self.task.decision_id, why)
        await self.desk.queue.post(self._statements(*flags).error(why))

    async def give_back(self, reason: str, *, tried: bool) -> None:
        await self.desk.queue.give_back(self.task, reason, tried=tried)

    def _statements(self, *flags: str, replicate: int = 0) -> Statements:
        return Statements(
            task=self.task,
            rubric=self.desk.judge.rubric,
            model=self.desk.settings.llm_model,
            replicate=replicate,
            flags=tuple(dict.fromkeys((*self.desk.settings.flags, *flags))),
        )
