"""Values that are given again: bounded in weight and age, and made once for all who ask at the same time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(slots=True, kw_only=True, eq=False)
class _Entry(Generic[V]):
    expires_at: float
    future: "asyncio.Future[V]"
    weight: int = 1


class Remembered(Generic[V]):
    """The latest values by key, in this process's memory; the oldest is forgotten first.

    most: what all of them may weigh together.
    """

    def __init__(
        self,
        *,
        most: int,
        ttl_s: float,
        weigh: Callable[[V], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._ttl_s = ttl_s
        self._weigh = weigh
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry[V]] = OrderedDict()
        self._weight = 0

    async def once(self, key: bytes, make: Callable[[], Awaitable[V]]) -> tuple[V, bool]:
        """The value of this key, and whether it is a repeat.

        Who comes while it is being made waits for it; a failure is remembered by nobody, and the next one tries again.
        """
        while (known := self._known(key)) is not None:
            await asyncio.wait([known])
            if not known.cancelled() and known.exception() is None:
                return known.result(), True
        entry = self._begun(key)
        try:
            entry.future.set_result(await make())
        finally:
            if not entry.future.done():
                entry.future.cancel()
                self._forget(key, entry)
        self._settle(key, entry)
        return entry.future.result(), False

    def _known(self, key: bytes) -> "asyncio.Future[V] | None":
        now = self._clock()
        while self._entries:
            key_of_oldest, oldest = next(iter(self._entries.items()))
            if oldest.expires_at > now and self._weight <= self._most:
                break
            self._forget(key_of_oldest, oldest)
        entry = self._entries.get(key)
        return None if entry is None else entry.future

    def _begun(self, key: bytes) -> _Entry[V]:
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        entry = _Entry(expires_at=self._clock() + self._ttl_s, future=future)
        self._entries[key] = entry
        self._weight += entry.weight
        return entry

    def _settle(self, key: bytes, entry: _Entry[V]) -> None:
        """Its weight is known when it is made; by then others may have pushed it out."""
        if self._entries.get(key) is entry:
            weight = max(1, self._weigh(entry.future.result()))
            self._weight += weight - entry.weight
            entry.weight = weight

    def _forget(self, key: bytes, entry: _Entry[V]) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._weight -= entry.weight
