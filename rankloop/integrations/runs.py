"""Which rankings and which calls of an LLM belong to one run of an app.

Frameworks announce runs inside runs: a chain, its retriever, its LLM. What happens under one root belongs together.
Where an app calls retriever and LLM by itself there is none; the context of its thread or task says what was shown.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from rankloop.integrations.reading import Reading

S = TypeVar("S")
"""A ranking that was shown."""

MAX_ROOTS: Final = 10_000
"""Runs that never end are forgotten, the oldest first."""
RECENT: Final = 8
RECENT_S: Final = 600.0


@dataclass(slots=True, kw_only=True)
class _Asked:
    prompt: str
    model: str | None
    at_s: float
    reading: Reading | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Root(Generic[S]):
    """Everything under one root."""

    run: Hashable
    runs: set[Hashable] = field(default_factory=set)
    shown: list[S] = field(default_factory=list)
    asked: list[_Asked] = field(default_factory=list)
    recent: list[S] = field(default_factory=list)
    """What the context of the calls had seen before: counts where nothing was shown under this root."""
    open: dict[Hashable, _Asked] = field(default_factory=dict)
    """Calls without their answer yet: a stream outlives the run that opened it."""
    ended: bool = False

    @property
    def readings(self) -> list[Reading]:
        return [each.reading for each in self.asked if each.reading is not None]


class Runs(Generic[S]):
    """Told of every run, ranking and call; says what belongs together when a root and its calls have ended."""

    def __init__(
        self,
        done: Callable[[Sequence[S], Sequence[Reading]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._done, self._clock = done, clock
        self._lock = threading.Lock()
        self._roots: dict[Hashable, _Root[S]] = {}
        """By its own run, in the order in which they began."""
        self._by_run: dict[Hashable, _Root[S]] = {}
        self._recent: ContextVar[tuple[tuple[float, S], ...]] = ContextVar("shown", default=())

    def started(self, run: Hashable, parent: Hashable | None) -> None:
        with self._lock:
            root = self._by_run.get(parent)
            if root is None:
                root = self._roots[run] = _Root(run=run)
                self._forget_the_oldest()
            root.runs.add(run)
            self._by_run[run] = root

    def ended(self, run: Hashable) -> None:
        """The run has returned; a call that it opened may still be answered."""
        with self._lock:
            root = self._by_run.get(run)
            if root is None:
                return
            root.ended = root.ended or root.run == run
        self._finish(root)

    def shown(self, run: Hashable | None, shown: S) -> None:
        """A ranking was handed to the app, inside this run if any."""
        now_s = self._clock()
        self._recent.set((*self._recent.get(), (now_s, shown))[-RECENT:])
        with self._lock:
            root = self._by_run.get(run)
            if root is not None:
                root.shown.append(shown)

    def asked(self, run: Hashable, prompt: str, *, model: str | None) -> None:
        """An LLM was called; the run is that of the call."""
        now_s = self._clock()
        # The newest first: where two rankings had the same documents, the prompt is the later one's.
        recent = [each for at_s, each in self._recent.get()[::-1] if now_s - at_s <= RECENT_S]
        with self._lock:
            root = self._by_run.get(run)
            if root is None:
                return
            root.recent = root.recent or recent
            asked = _Asked(prompt=prompt, model=model, at_s=now_s)
            root.asked.append(asked)
            root.open[run] = asked

    def answered(self, run: Hashable, text: str, *, model: str | None = None) -> None:
        with self._lock:
            root = self._by_run.get(run)
            asked = None if root is None else root.open.pop(run, None)
            if root is None or asked is None:
                return
            asked.reading = Reading(
                prompt=asked.prompt,
                answer=text,
                model=model or asked.model,
                at=datetime.now(UTC),
                latency_ms=(self._clock() - asked.at_s) * 1000,
            )
        self._finish(root)

    def failed(self, run: Hashable) -> None:
        """The call will not be answered."""
        with self._lock:
            root = self._by_run.get(run)
            if root is None or root.open.pop(run, None) is None:
                return
        self._finish(root)

    def _finish(self, root: _Root[S]) -> None:
        with self._lock:
            if not root.ended or root.open or root.run not in self._roots:
                return
            self._forget(root)
        shown = root.shown or root.recent
        if shown and root.readings:
            self._done(shown, root.readings)

    def _forget(self, root: _Root[S]) -> None:
        del self._roots[root.run]
        for run in root.runs:
            del self._by_run[run]

    def _forget_the_oldest(self) -> None:
        if len(self._roots) > MAX_ROOTS:
            self._forget(next(iter(self._roots.values())))
