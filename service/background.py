"""Work that goes on beside the requests, for as long as the service lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

logger = logging.getLogger(__name__)

_FAREWELL_S: Final = 2.0


@asynccontextmanager
async def kept_running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs the work beside the block and cancels it at the end."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    try:
        yield task
    finally:
        task.cancel()
        await finished_within(task, _FAREWELL_S)


async def finished_within(task: asyncio.Task[None], seconds: float) -> bool:
    """Waits for a task, and no longer: a database call in it may not heed a cancellation."""
    await asyncio.wait([task], timeout=seconds)
    return task.done()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background.died", exc_info=error)
