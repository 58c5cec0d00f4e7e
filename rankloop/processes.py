"""Keeps programs running: one that ends by itself is started again after a pause that grows with each failure."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from rankloop import leash
from rankloop.embedded import Server

Say: TypeAlias = Callable[[str], None]

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0
"""Who ran this long before ending has failed for the first time, whatever came before."""


class Running(Protocol):
    """Something that was started."""

    def exit_code(self) -> int | None:
        """None while it runs."""

    def stop(self) -> None:
        """Asks it to end and waits; does nothing to what has ended already, but for what that left behind."""


R_co = TypeVar("R_co", bound=Running, covariant=True)


class Kept(Generic[R_co]):
    """One program or server that should always run."""

    def __init__(
        self,
        name: str,
        start: Callable[[], R_co],
        *,
        say: Say,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.failures = 0
        """Ends in a row, each sooner than `STEADY_S` after its start."""
        self._start, self._say, self._now = start, say, now
        self._running: R_co | None = None
        self._started_at = self._due_at = now()

    def start(self) -> R_co:
        self._started_at = self._now()
        self._running = running = self._start()
        return running

    def tend(self) -> None:
        """Notices an end, or starts anew when the pause is over. To be called often."""
        if self._running is None:
            if self._now() >= self._due_at:
                self.start()
            return
        exit_code = self._running.exit_code()
        if exit_code is not None:
            self._ended(self._running, exit_code)

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None

    def _ended(self, running: Running, exit_code: int) -> None:
        running.stop()
        self._running = None
        steady = self._now() - self._started_at >= STEADY_S
        self.failures = 1 if steady else self.failures + 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.failures - 1))
        self._due_at = self._now() + pause_s
        self._say(f"{self.name} {_how(exit_code)}; starting it again in {pause_s:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command, the environment it runs in, and the file its output goes to."""

    arguments: tuple[str | Path, ...]
    environ: Mapping[str, str]
    log: Path
    grace_s: float = 15.0
    """How long it may take to end after SIGTERM."""

    def start(self) -> "RunningProgram":
        with self.log.open("ab") as output:
            # Killed, not asked, when we are: nobody would be left to see to it that a hung one ends.
            process = leash.start(
                self.arguments, output=output, farewell=signal.SIGKILL, env=self.environ
            )
        return RunningProgram(process, grace_s=self.grace_s)


class RunningProgram:
    """A child process, leader of a group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], *, grace_s: float) -> None:
        self._process = process
        self._grace_s = grace_s

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait(self) -> int:
        return self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace_s)
        # Whatever it had started itself has nobody else to end it.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:
            self._process.wait()


class RunningServer:
    """A server that lives as long as its context."""

    def __init__(self, context: AbstractContextManager[Server]) -> None:
        self._stack = ExitStack()
        self._server = self._stack.enter_context(context)

    @property
    def url(self) -> str:
        return self._server.url

    def exit_code(self) -> int | None:
        return self._server.process.poll()

    def stop(self) -> None:
        self._stack.close()


def _how(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
