"""One judge at work: lease, ask, post; on any failure give the task back and go on."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Final

import httpx
from pydantic import ValidationError

from judge.llm import LlmFailed
from judge.metrics import Metrics
from judge.opinions import Judge, Opinion, Suspected
from judge.outage import Outage
from judge.queue import NotStored, Queue, Task
from judge.retries import Backoff
from judge.rubric import Kind
from judge.selfcheck import SelfCheck
from judge.settings import SHADOW, JudgeSettings
from judge.state import PICOS, CapReached
from judge.statements import Statements

logger = logging.getLogger(__name__)

AWAY: Final = (httpx.HTTPError, ValidationError, NotStored)
"""The service does not answer, or somebody else does, or it does not want this."""
MARGIN_S: Final = 10.0
"""Of a lease, to say what came of it."""
MAX_DETAIL: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Judges one answer at a time; a process runs several, which share all that they have."""

    queue: Queue
    judge: Judge
    checks: SelfCheck
    settings: JudgeSettings
    metrics: Metrics
    outage: Outage = field(default_factory=Outage)
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
            async with asyncio.timeout(task.expires_in_s - MARGIN_S):
                opinion = await self._judged(task)
        except asyncio.CancelledError:
            await self._give_back(task, "the judge was stopped", tried=False)
            raise
        except TimeoutError:
            await self._give_back(task, "there was no time for it", tried=False)
        except CapReached as capped:
            await self._give_back(task, str(capped), tried=False)
        except LlmFailed as failure:
            await self._failed(task, failure)
        except AWAY as error:
            self._service_failed("feedback", error)
            await self._give_back(task, "the verdict could not be posted", tried=True)
        else:
            self.metrics.latency.observe(time.monotonic() - started)
            if opinion is not None:
                await self._check(task, opinion)

    async def _judged(self, task: Task) -> Opinion | None:
        """Posts what was found; None where that is no verdict."""
        if (why := self._unjudgeable(task)) is not None:
            await self._unobserved(task, why)
            return None
        try:
            opinion = await self.judge.judged(task.case())
        except Suspected as suspicion:
            await self._unobserved(task, f"suspected injection: {suspicion}", "injection")
            return None
        self.outage.ended()
        self.metrics.count(opinion)
        await self.queue.post(self._statements(task).of(opinion))
        self.metrics.verdicts.inc()
        logger.info("verdict.posted decision=%s", task.decision_id)
        return opinion

    def _unjudgeable(self, task: Task) -> str | None:
        """Why the LLM has nothing to judge; None for most."""
        if not task.has_texts:
            return "the texts are not kept"
        if self.judge.rubric.kind is Kind.DOCUMENTS and not task.documents:
            return "no document was used"
        return None

    async def _check(self, task: Task, opinion: Opinion) -> None:
        """The verdict stands, whatever becomes of the checks; a second one is to be seen, and no reward."""
        try:
            if self.checks.repeats(task):
                again = await self.checks.repeat(task, opinion)
                await self.queue.post(self._statements(task, SHADOW, replicate=1).of(again))
            if self.checks.probes(task):
                await self.checks.probe(task)
        except (CapReached, LlmFailed, Suspected, *AWAY) as error:
            logger.info("check.failed decision=%s reason=%s", task.decision_id, error)

    def _statements(self, task: Task, *flags: str, replicate: int = 0) -> Statements:
        return Statements(
            task=task,
            rubric=self.judge.rubric,
            model=self.settings.llm_model,
            replicate=replicate,
            flags=tuple(dict.fromkeys((*self.settings.flags, *flags))),
        )

    async def _unobserved(self, task: Task, why: str, *flags: str) -> None:
        self.metrics.unobserved.labels(why.partition(":")[0]).inc()
        logger.info("verdict.unobserved decision=%s reason=%s", task.decision_id, why)
        await self.queue.post(self._statements(task, *flags).error(why))

    async def _failed(self, task: Task, failure: LlmFailed) -> None:
        """Another try, as long as there is one: then it is said that there is no verdict."""
        self.metrics.failures.labels(failure.kind).inc()
        is_away = self.outage.saw(failure)
        if is_away or task.attempts_left:
            await self._give_back(task, str(failure), tried=not is_away)
            return
        try:
            await self._unobserved(task, f"no verdict: {failure}")
        except AWAY as error:
            self._service_failed("feedback", error)

    async def _give_back(self, task: Task, reason: str, *, tried: bool) -> None:
        self.metrics.given_back.inc()
        logger.warning("verdict.failed decision=%s reason=%s", task.decision_id, reason)
        try:
            await self.queue.give_back(task, reason, tried=tried)
        except AWAY as error:
            # Not lost: the lease expires by itself.
            self._service_failed("nack", error)

    def _is_paused(self) -> bool:
        self.metrics.spent.set(self.judge.state.spent() / PICOS)
        can_pay = self.judge.llm.can_pay()
        self.metrics.capped.set(not can_pay)
        self.metrics.away.set(self.outage.is_on)
        return self.checks.breaker.is_open or self.outage.is_on or not can_pay

    def _service_failed(self, call: str, error: Exception) -> None:
        self.metrics.service_errors.inc()
        logger.warning("service.failed call=%s reason=%s", call, _in_short(error))


def _in_short(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code} {error.response.text[:MAX_DETAIL]}"
    return f"{type(error).__name__} {error}"[:MAX_DETAIL]
