"""Work that an app must not wait for: done by a thread of its own, bounded, flushed at exit."""

import atexit
import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1000
FLUSH_S: Final = 5.0
"""How long the end of a process may be held up."""


class Outbox:
    """A failure is logged once, until something succeeds again: reports are worth less than a quiet log."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: queue.Queue[Callable[[], object]] = queue.Queue(max_waiting)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.dropped = 0
        """What was not even tried, because too much waited."""
        atexit.register(self.flush)

    def put(self, work: Callable[[], object]) -> None:
        """Never blocks and never raises."""
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            self.dropped += 1
            self._failed("too much waits")
        else:
            self._keep_running()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Waits until nothing waits, and not for longer; says whether that was so."""
        waiting = self._waiting
        if self._thread is None or not self._thread.is_alive():
            return not waiting.unfinished_tasks
        with waiting.all_tasks_done:
            return waiting.all_tasks_done.wait_for(
                lambda: not waiting.unfinished_tasks, timeout=timeout_s
            )

    def _keep_running(self) -> None:
        """Starts the thread at the first use: a server that forks later has one in each child."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="rankloop", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                work()
            except Exception as failure:  # noqa: BLE001 - whatever it is, the app does not hear of it
                self._failed(f"{type(failure).__name__}: {failure}")
            else:
                self._failing = False
            finally:
                self._waiting.task_done()

    def _failed(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("report.failed reason=%s; further ones are not logged", reason)
