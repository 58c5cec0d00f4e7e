"""Values that are given again: bounded in number and age, and made once for all who ask at the same time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """The latest values by key, in this process's memory; the oldest is forgotten first."""

    def __init__(
        self, *, most: int, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._ttl_s = ttl_s
        self._clock = clock
        self._values: OrderedDict[bytes, tuple[float, asyncio.Future[V]]] = OrderedDict()

    async def once(self, key: bytes, make: Callable[[], Awaitable[V]]) -> tuple[V, bool]:
        """The value of this key, and whether it is a repeat.

        Who comes while it is being made waits for it; a failure is remembered by nobody, and the next one tries again.
        """
        while (known := self._known(key)) is not None:
            await asyncio.wait([known])
            if not known.cancelled() and known.exception() is None:
                return known.result(), True
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._values[key] = (self._clock() + self._ttl_s, future)
        try:
            future.set_result(await make())
        finally:
            if not future.done():
                future.cancel()
                self._forget(key, future)
        return future.result(), False

    def _known(self, key: bytes) -> "asyncio.Future[V] | None":
        now = self._clock()
        while self._values:
            expires_at, _ = next(iter(self._values.values()))
            if expires_at > now and len(self._values) <= self._most:
                break
            self._values.popitem(last=False)
        entry = self._values.get(key)
        return None if entry is None else entry[1]

    def _forget(self, key: bytes, future: "asyncio.Future[V]") -> None:
        entry = self._values.get(key)
        if entry is not None and entry[1] is future:
            del self._values[key]
