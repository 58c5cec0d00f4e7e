"""What waits for Postgres, and not for ever: a frozen one answers nothing, and whoever cancels its driver waits too."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from service.background import cancelled, finished_within
from service.errors import DatabaseAway

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S: Final = 10.0

_overdue: Final[set[asyncio.Task[Any]]] = set()


def in_time(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same, which raises `DatabaseAway` when it takes too long; what it then still does, nobody hears of."""

    @functools.wraps(work)
    async def waited_for(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(work(*args, **kwargs))
        if not await finished_within(task, WAIT_S):
            _overdue.add(task)
            task.add_done_callback(_heard)
            raise DatabaseAway("the database does not answer")
        return task.result()

    return waited_for


async def end_overdue() -> None:
    """Ends what nobody waits for any more: before the engine is disposed of, which leaves alone what is in use."""
    await asyncio.gather(*(cancelled(task) for task in _overdue))


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody looks at would be logged as one that was forgotten."""
    _overdue.discard(task)
    if not task.cancelled():
        task.exception()
