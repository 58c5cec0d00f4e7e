"""One judge at work: lease, ask, post; on any failure give the task back and go on."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Final

import httpx
from pydantic import ValidationError

from judge.llm import Llm, LlmFailed
from judge.metrics import Metrics
from judge.prompt import messages
from judge.queue import Queue, Task
from judge.retries import Backoff

logger = logging.getLogger(__name__)

AWAY: Final = (httpx.HTTPError, ValidationError)
"""The service does not answer, or somebody else does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Judges one answer at a time; a process runs several."""

    queue: Queue
    llm: Llm
    metrics: Metrics
    poll_s: float
    backoff: Backoff = field(default_factory=Backoff)

    async def run(self) -> None:
        """Until cancelled; a task in hand is given back then."""
        failures = 0
        while True:
            try:
                task = await self.queue.lease()
            except AWAY as error:
                self._service_failed("lease", error)
                await asyncio.sleep(self.poll_s + self.backoff.wait_s(failures))
                failures += 1
                continue
            failures = 0
            if task is None:
                await asyncio.sleep(self.poll_s)
            else:
                await self.judge(task)

    async def judge(self, task: Task) -> None:
        """One verdict posted, or the task given back."""
        started = time.monotonic()
        try:
            await self._judge(task)
        except asyncio.CancelledError:
            await self._give_back(task, "the judge was stopped")
            raise
        except LlmFailed as failure:
            await self._give_back(task, str(failure))
        except AWAY as error:
            self._service_failed("feedback", error)
            await self._give_back(task, "the verdict could not be posted")
        else:
            self.metrics.latency.observe(time.monotonic() - started)
            self.metrics.verdicts.inc()
            logger.info("verdict.posted decision=%s", task.decision_id)

    async def _judge(self, task: Task) -> None:
        texts = [document.text for document in task.documents]
        rubric = self.queue.rubric
        opinion = await self.llm.ask(
            messages(rubric, query=task.query, documents=texts, answer=task.answer)
        )
        self.metrics.count_tokens(opinion.usage)
        await self.queue.post(task, opinion)

    async def _give_back(self, task: Task, reason: str) -> None:
        self.metrics.failures.inc()
        logger.warning("verdict.failed decision=%s reason=%s", task.decision_id, reason)
        try:
            await self.queue.give_back(task, reason)
        except AWAY as error:
            # Not lost: the lease expires by itself.
            self._service_failed("nack", error)

    def _service_failed(self, call: str, error: Exception) -> None:
        self.metrics.service_errors.inc()
        logger.warning("service.failed call=%s reason=%s", call, type(error).__name__)
