"""One judge at work: lease something to do, do it; on any failure give it back and go on."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol
from uuid import UUID

import httpx

from judge.judging import Answers
from judge.llm import LlmFailed
from judge.metrics import Metrics
from judge.outage import Outage
from judge.queue import AWAY
from judge.reader import ReaderFailed
from judge.replaying import Replays
from judge.retries import Backoff
from judge.settings import JudgeSettings
from judge.state import PICOS, CapReached

logger = logging.getLogger(__name__)

MARGIN_S: Final = 10.0
"""Of a lease, to say what came of it."""
MAX_DETAIL: Final = 200


class Job(Protocol):
    """Something to do, ours until its lease expires."""

    what: ClassVar[str]
    """What comes of it, for logs."""

    @property
    def decision_id(self) -> UUID: ...

    @property
    def expires_in_s(self) -> float: ...

    @property
    def attempts_left(self) -> int:
        """How often it may be leased again."""

    async def do(self) -> None:
        """Posts what was found.  Raises `LlmFailed`, `ReaderFailed`, `CapReached` and what is in `AWAY`."""

    async def check(self) -> None:
        """A look back at what was posted, which stands; raises nothing of all that."""

    async def end(self, why: str) -> None:
        """Posts that nothing is to be found, ever.  Raises what is in `AWAY`."""

    async def give_back(self, reason: str, *, tried: bool) -> None:
        """Another try, by whomever.  Raises what is in `AWAY`."""


class Desk(Protocol):
    """Where jobs of one sort are leased."""

    def is_paused(self) -> bool:
        """Whether jobs of this sort alone have to wait."""

    async def lease(self) -> Job | None:
        """None where none waits.  Raises what is in `AWAY`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Does one job at a time; a process runs several, which share all that they have."""

    answers: Answers
    replays: Replays | None
    """None where there is no reader, and in shadow."""
    settings: JudgeSettings
    metrics: Metrics
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def outage(self) -> Outage:
        """Of the LLM: it judges whatever is done here."""
        return self.answers.judge.outage

    @property
    def desks(self) -> tuple[Desk, ...]:
        return (self.answers,) if self.replays is None else (self.replays, self.answers)

    async def run(self) -> None:
        """Until cancelled; a job in hand is given back then."""
        failures, turns = 0, deque(self.desks)
        while True:
            if self._is_paused():
                await asyncio.sleep(self.settings.poll_s)
                continue
            try:
                job = await self._next(turns)
            except AWAY:
                await asyncio.sleep(self.settings.poll_s + self.backoff.wait_s(failures))
                failures += 1
                continue
            failures = 0
            if job is None:
                await asyncio.sleep(self.settings.poll_s)
            else:
                await self.take(job)

    async def _next(self, turns: deque[Desk]) -> Job | None:
        """Desks take turns, so that none waits for the other's queue to be empty.

        turns: the one that was asked goes to the end.  Raises what is in `AWAY` where none has a job and one failed.
        """
        failed: Exception | None = None
        for desk in tuple(turns):
            turns.rotate(-1)
            if desk.is_paused():
                continue
            try:
                job = await desk.lease()
            except AWAY as error:
                self._service_failed("lease", error)
                failed = error
            else:
                if job is not None:
                    return job
        if failed is not None:
            raise failed
        return None

    async def take(self, job: Job) -> None:
        """One result posted, or the job given back."""
        try:
            async with asyncio.timeout(job.expires_in_s - MARGIN_S):
                await job.do()
        except asyncio.CancelledError:
            await self._give_back(job, "the judge was stopped", tried=False)
            raise
        except TimeoutError:
            await self._give_back(job, "there was no time for it", tried=False)
        except CapReached as capped:
            await self._give_back(job, str(capped), tried=False)
        except LlmFailed as failure:
            self.metrics.failures.labels(failure.kind).inc()
            await self._failed(job, failure, is_away=self.outage.saw(failure))
        except ReaderFailed as failure:
            self.metrics.reader_failures.labels(failure.kind).inc()
            await self._failed(job, failure, is_away=failure.is_away)
        except AWAY as error:
            self._service_failed(job.what, error)
            await self._give_back(job, f"the {job.what} could not be posted", tried=True)
        else:
            await job.check()

    async def _failed(self, job: Job, failure: Exception, *, is_away: bool) -> None:
        """Another try, as long as there is one: then it is said that nothing is to be found."""
        if is_away or job.attempts_left:
            await self._give_back(job, str(failure), tried=not is_away)
            return
        try:
            await job.end(f"no {job.what}: {failure}")
        except AWAY as error:
            self._service_failed(job.what, error)

    async def _give_back(self, job: Job, reason: str, *, tried: bool) -> None:
        self.metrics.given_back.inc()
        logger.warning("%s.failed decision=%s reason=%s", job.what, job.decision_id, reason)
        try:
            await job.give_back(reason, tried=tried)
        except AWAY as error:
            # Not lost: the lease expires by itself.
            self._service_failed("nack", error)

    def _is_paused(self) -> bool:
        judge = self.answers.judge
        self.metrics.spent.set(judge.state.spent() / PICOS)
        can_pay = judge.llm.can_pay()
        self.metrics.capped.set(not can_pay)
        self.metrics.away.set(self.outage.is_on)
        return self.answers.checks.breaker.is_open or self.outage.is_on or not can_pay

    def _service_failed(self, call: str, error: Exception) -> None:
        self.metrics.service_errors.inc()
        logger.warning("service.failed call=%s reason=%s", call, _in_short(error))


def _in_short(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code} {error.response.text[:MAX_DETAIL]}"
    return f"{type(error).__name__} {error}"[:MAX_DETAIL]
