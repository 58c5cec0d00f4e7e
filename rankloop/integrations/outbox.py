"""Work that an app must not wait for: done by a thread of its own, bounded, flushed at exit."""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1000
FLUSH_S: Final = 5.0
"""How long the end of a process may be held up, by all of its outboxes together."""


class Outbox:
    """Has a thread while there is work, and is collected like any other object when there is none.

    A failure is logged once, until something succeeds again: reports are worth less than a quiet log.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._waiting: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.dropped = 0
        """What was not even tried, because too much waited."""
        _OUTBOXES.add(self)

    def put(self, work: Callable[[], object]) -> None:
        """Never blocks and never raises."""
        with self._changed:
            if len(self._waiting) < self._max_waiting:
                self._waiting.append(work)
                self._keep_running()
            else:
                self.dropped += 1
                self._failed("too much waits")

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Waits until nothing waits, and not for longer; says whether that was so."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_running(), timeout=timeout_s)
            return not self._waiting and not self._is_running()

    def _is_running(self) -> bool:
        """A thread that was left behind by a fork is not alive."""
        return self._thread is not None and self._thread.is_alive()

    def _keep_running(self) -> None:
        if self._is_running():
            return
        self._thread = threading.Thread(target=self._run, name="rankloop", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as refusal:  # too many threads, or the process ends
            self._thread = None
            self._failed(str(refusal))

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception as failure:  # noqa: BLE001 - whatever it is, the app does not hear of it
                self._failed(f"{type(failure).__name__}: {failure}")
            else:
                self._failing = False

    def _next(self) -> Callable[[], object] | None:
        """What has waited longest; where nothing waits, the thread has ended for everybody else."""
        with self._changed:
            if self._waiting:
                return self._waiting.popleft()
            self._thread = None
            self._changed.notify_all()
            return None

    def _failed(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("report.failed reason=%s; further ones are not logged", reason)


_OUTBOXES: Final[WeakSet[Outbox]] = WeakSet()


def _flush_all() -> None:
    deadline_s = time.monotonic() + FLUSH_S
    for outbox in list(_OUTBOXES):
        outbox.flush(max(0.0, deadline_s - time.monotonic()))


atexit.register(_flush_all)
