"""Work that goes on beside the requests, for as long as the service lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

logger = logging.getLogger(__name__)

_CANCELLATIONS: Final = 6
_BETWEEN_S: Final = 0.5


@asynccontextmanager
async def kept_running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs the work beside the block and cancels it at the end."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    try:
        yield task
    finally:
        await cancelled(task)


async def finished_within(task: asyncio.Task[Any], seconds: float) -> bool:
    """Waits for a task, and no longer."""
    await asyncio.wait([task], timeout=seconds)
    return task.done()


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancels a task and waits for its end, three seconds at most."""
    # Once is not enough: redis-py takes a cancellation for a lost connection and connects again, and a driver may
    # wait for a database that does not answer.
    for _ in range(_CANCELLATIONS):
        task.cancel()
        if await finished_within(task, _BETWEEN_S):
            return


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background.died", exc_info=error)
