"""One judge at work: lease, ask, post; on any failure give the task back and go on."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx
from pydantic import ValidationError

from judge.llm import LlmFailed
from judge.metrics import Metrics
from judge.opinions import Judge, Opinion
from judge.queue import NotStored, Queue, Task
from judge.retries import Backoff
from judge.rubric import Kind
from judge.selfcheck import SelfCheck
from judge.settings import JudgeSettings
from judge.state import PICOS, CapReached
from judge.statements import Statements
from judge.suspicion import signs

logger = logging.getLogger(__name__)

AWAY: Final = (httpx.HTTPError, ValidationError, NotStored)
"""The service does not answer, or somebody else does, or it does not want this."""
SUSPECTED: Final = "suspected injection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Judges one answer at a time; a process runs several, which share all that they have."""

    queue: Queue
    judge: Judge
    checks: SelfCheck
    settings: JudgeSettings
    metrics: Metrics
    backoff: Backoff = field(default_factory=Backoff)

    async def run(self) -> None:
        """Until cancelled; a task in hand is given back then."""
        failures = 0
        while True:
            if self._is_paused():
                await asyncio.sleep(self.settings.poll_s)
                continue
            try:
                task = await self.queue.lease()
            except AWAY as error:
                self._service_failed("lease", error)
                await asyncio.sleep(self.settings.poll_s + self.backoff.wait_s(failures))
                failures += 1
                continue
            failures = 0
            if task is None:
                await asyncio.sleep(self.settings.poll_s)
            else:
                await self.take(task)

    async def take(self, task: Task) -> None:
        """One verdict posted, or the task given back."""
        started = time.monotonic()
        try:
            opinion = await self._judged(task)
        except asyncio.CancelledError:
            await self._give_back(task, "the judge was stopped")
            raise
        except CapReached:
            await self._give_back(task, "today's money is spent")
        except LlmFailed as failure:
            await self._failed(task, failure)
        except AWAY as error:
            self._service_failed("feedback", error)
            await self._give_back(task, "the verdict could not be posted")
        else:
            self.metrics.latency.observe(time.monotonic() - started)
            if opinion is not None:
                await self._check(task, opinion)

    async def _judged(self, task: Task) -> Opinion | None:
        """Posts what was found; None where that is no verdict."""
        if (why := self._unjudgeable(task)) is not None:
            await self._unobserved(task, why)
            return None
        opinion = await self.judge.opinion(task.case())
        self.metrics.count(opinion)
        if opinion.verdict.injection:
            await self._unobserved(task, f"{SUSPECTED}: says the LLM")
            return None
        await self.queue.post(self._statements(task).of(opinion))
        self.metrics.verdicts.inc()
        logger.info("verdict.posted decision=%s", task.decision_id)
        return opinion

    def _unjudgeable(self, task: Task) -> str | None:
        """Why the LLM has nothing to judge; None for most."""
        if not task.query or not all(document.text for document in task.documents):
            return "the texts are not kept"
        if self.judge.rubric.kind is Kind.DOCUMENTS and not task.documents:
            return "no document was used"
        found = signs(task.case()) if self.settings.suspects else frozenset[str]()
        return f"{SUSPECTED}: {', '.join(sorted(found))}" if found else None

    async def _check(self, task: Task, opinion: Opinion) -> None:
        """The verdict stands, whatever becomes of the checks."""
        try:
            if self.checks.repeats(task):
                again = await self.checks.repeat(task, opinion)
                await self.queue.post(self._statements(task, replicate=1).of(again))
            if self.checks.probes(task):
                await self.checks.probe(task)
        except (CapReached, LlmFailed, *AWAY) as error:
            logger.info("check.failed decision=%s reason=%s", task.decision_id, error)

    def _statements(
        self, task: Task, *, replicate: int = 0, flags: Sequence[str] = ()
    ) -> Statements:
        return Statements(
            task=task,
            rubric=self.judge.rubric,
            model=self.settings.llm_model,
            replicate=replicate,
            flags=(*self.settings.flags, *flags),
        )

    async def _unobserved(self, task: Task, why: str) -> None:
        flags = ["injection"] if why.startswith(SUSPECTED) else []
        self.metrics.unobserved.labels(why.partition(":")[0]).inc()
        logger.info("verdict.unobserved decision=%s reason=%s", task.decision_id, why)
        await self.queue.post(self._statements(task, flags=flags).error(why))

    async def _failed(self, task: Task, failure: LlmFailed) -> None:
        """Another try, as long as there is one: then it is said that there is no verdict."""
        self.metrics.failures.labels(failure.kind).inc()
        if task.attempts_left:
            await self._give_back(task, str(failure))
            return
        try:
            await self._unobserved(task, f"no verdict: {failure}")
        except AWAY as error:
            self._service_failed("feedback", error)

    async def _give_back(self, task: Task, reason: str) -> None:
        self.metrics.given_back.inc()
        logger.warning("verdict.failed decision=%s reason=%s", task.decision_id, reason)
        try:
            await self.queue.give_back(task, reason)
        except AWAY as error:
            # Not lost: the lease expires by itself.
            self._service_failed("nack", error)

    def _is_paused(self) -> bool:
        self.metrics.spent.set(self.judge.state.spent() / PICOS)
        can_pay = self.judge.llm.can_pay()
        self.metrics.capped.set(not can_pay)
        return self.checks.breaker.is_open or not can_pay

    def _service_failed(self, call: str, error: Exception) -> None:
        self.metrics.service_errors.inc()
        logger.warning("service.failed call=%s reason=%s", call, type(error).__name__)
