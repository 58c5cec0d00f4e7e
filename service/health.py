"""What the service leans on and when it last answered: the difference between ready, degraded and not ready."""

import time
from collections.abc import Callable


class Health:
    """Times of the last good word from each neighbour."""

    def __init__(
        self, *, silent_after_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._silent_after_s = silent_after_s
        self._clock = clock
        self._seen = {"postgres": clock(), "redis": clock()}

    def saw(self, neighbour: str) -> None:
        self._seen[neighbour] = self._clock()

    @property
    def silent(self) -> tuple[str, ...]:
        """Who has not answered for too long."""
        limit = self._clock() - self._silent_after_s
        return tuple(name for name, at in self._seen.items() if at < limit)
