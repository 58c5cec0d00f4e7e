"""A thread beside the event loop, for reading in pure Python that would hold up every other request."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final, ParamSpec, TypeVar

from service.errors import Overloaded
from service.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")

MOST: Final = 8
"""Bodies that are read, or wait for it, at once."""


class Aside:
    """The thread, and how much may wait for it."""

    def __init__(self, thread: ThreadPoolExecutor, metrics: Metrics) -> None:
        self._thread = thread
        self._metrics = metrics
        self._inside = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Room for one body while it is inside.  Raises `Overloaded`."""
        if self._inside >= MOST:
            self._metrics.overloaded.inc()
            raise Overloaded("too many bodies wait to be read")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the work returns, or raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
