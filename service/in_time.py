"""What waits for Postgres, and not for ever: a frozen one answers nothing, and whoever cancels its driver waits too."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from service.background import finished_within
from service.errors import DatabaseAway

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S: Final = 10.0


def in_time(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same, which raises `DatabaseAway` when it takes too long; what it then still does, nobody hears of."""

    @functools.wraps(work)
    async def waited_for(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(work(*args, **kwargs))
        if not await finished_within(task, WAIT_S):
            task.add_done_callback(_heard)
            raise DatabaseAway("the database does not answer")
        return task.result()

    return waited_for


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody looks at would be logged as one that was forgotten."""
    if not task.cancelled():
        task.exception()
