"""Rankings that a model failed while a canary runs: they leave no decision, and the canary is judged by them too.

Stored beside the requests, in batches; a few wait in memory while Postgres is away, more are counted and dropped.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from contract.records import Failure
from contract.tables import failures
from service.background import finished_within, kept_running
from service.metrics import Metrics

logger = logging.getLogger(__name__)

MOST: Final = 1_000
"""Failures that wait: enough to end a canary many times over."""
_RETRY_S: Final = 1.0
_DRAIN_S: Final = 2.0


class FailureLog:
    """The queue before Postgres, and who empties it."""

    def __init__(self, engine: AsyncEngine, *, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._waiting: deque[Failure] = deque()
        self._something = asyncio.Event()
        self._closing = False

    def offer(self, failure: Failure) -> None:
        """Takes a failure to be stored, unless too many wait."""
        if len(self._waiting) >= MOST:
            self._metrics.failures_dropped.inc()
            return
        self._waiting.append(failure)
        self._something.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stores what is offered, and at the end what still waits, if Postgres takes it at once."""
        async with kept_running(self._run()) as task:
            yield
            self._closing = True
            self._something.set()
            await finished_within(task, _DRAIN_S)

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._something.wait()
            try:
                await self._store()
            except (SQLAlchemyError, OSError) as error:
                logger.warning("failures.retry error=%s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def _store(self) -> None:
        batch = list(self._waiting)
        if batch:
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(failures).on_conflict_do_nothing(), [row(each) for each in batch]
                )
        for _ in batch:
            self._waiting.popleft()
        if not self._waiting and not self._closing:
            self._something.clear()


def row(failure: Failure) -> dict[str, Any]:
    """One row of `failures`."""
    return asdict(failure) | {"arm": str(failure.arm)}
