"""Which rankings and which calls of an LLM belong to one run of an app.

Frameworks announce runs inside runs: a chain, its retriever, its LLM. What happens under one root belongs together.
Where an app calls retriever and LLM by itself there is none; the context of its thread or task says what was shown.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from rankloop.integrations.reading import Reading

S = TypeVar("S")
"""A ranking that was shown."""

MAX_ROOTS: Final = 10_000
"""Runs that never end are forgotten, the longest idle first."""
IDLE_S: Final = 1800.0
"""A run of which nothing is heard for so long is forgotten."""
MAX_RUNS: Final = 1000
"""Of one root."""
MAX_SHOWN: Final = 64
"""Of one root, the newest."""
MAX_CALLS: Final = 200
"""Of one root, the newest."""
MAX_CHARACTERS: Final = 4_000_000
"""Of the prompts and answers of one root; the newest call is kept in any case."""
RECENT: Final = 8
RECENT_S: Final = 600.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Asked:
    run: Hashable
    prompt: str
    model: str | None
    at_s: float
    reading: Reading | None = None

    @property
    def size(self) -> int:
        return len(self.prompt) + (0 if self.reading is None else len(self.reading.answer))


@dataclass(slots=True, kw_only=True, eq=False)
class _Root(Generic[S]):
    """What is kept of everything under one root."""

    run: Hashable
    heard_s: float
    runs: dict[Hashable, bool] = field(default_factory=dict)
    """Whether each has ended. One that has may have children yet."""
    shown: deque[S] = field(default_factory=lambda: deque(maxlen=MAX_SHOWN))
    asked: deque[_Asked] = field(default_factory=deque)
    recent: list[S] = field(default_factory=list)
    """What the context of the calls had seen before: counts where nothing was shown under this root."""
    open: dict[Hashable, _Asked] = field(default_factory=dict)
    """Calls without their answer yet: a stream outlives the run that opened it."""
    ended: bool = False

    @property
    def readings(self) -> list[Reading]:
        return [each.reading for each in self.asked if each.reading is not None]

    def ask(self, asked: _Asked) -> None:
        self.asked.append(asked)
        self.open[asked.run] = asked
        while len(self.asked) > 1 and self._is_full():
            oldest = self.asked.popleft()
            if self.open.get(oldest.run) is oldest:
                del self.open[oldest.run]

    def _is_full(self) -> bool:
        return len(self.asked) > MAX_CALLS or sum(each.size for each in self.asked) > MAX_CHARACTERS

    def surplus(self) -> Hashable | None:
        """The run to forget, if there are too many: the oldest, and rather one that has ended."""
        if len(self.runs) <= MAX_RUNS:
            return None
        idle = [run for run in self.runs if run != self.run and run not in self.open]
        return next((run for run in idle if self.runs[run]), idle[0])


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
        """By its own run, the longest idle first."""
        self._by_run: dict[Hashable, _Root[S]] = {}
        self._recent: ContextVar[tuple[tuple[float, S], ...]] = ContextVar("shown", default=())

    def started(self, run: Hashable, parent: Hashable | None) -> None:
        with self._lock:
            root = self._heard_of(parent)
            if root is None:
                root = self._roots[run] = _Root(run=run, heard_s=self._clock())
                self._forget_the_idle()
            root.runs[run] = False
            self._by_run[run] = root
            surplus = root.surplus()
            if surplus is not None:
                del root.runs[surplus], self._by_run[surplus]

    def ended(self, run: Hashable) -> None:
        """The run has returned; a call that it opened may still be answered."""
        with self._lock:
            root = self._heard_of(run)
            if root is None:
                return
            root.runs[run] = True
            root.ended = root.ended or root.run == run
        self._finish(root)

    def shown(self, run: Hashable | None, shown: S) -> None:
        """A ranking was handed to the app, inside this run if any."""
        now_s = self._clock()
        self._recent.set((*self._recent.get(), (now_s, shown))[-RECENT:])
        with self._lock:
            root = self._heard_of(run)
            if root is not None:
                root.shown.append(shown)

    def asked(self, run: Hashable, prompt: str, *, model: str | None) -> None:
        """An LLM was called; the run is that of the call."""
        now_s = self._clock()
        # The newest first: where two rankings had the same documents, the prompt is the later one's.
        recent = [each for at_s, each in self._recent.get()[::-1] if now_s - at_s <= RECENT_S]
        with self._lock:
            root = self._heard_of(run)
            if root is None:
                return
            root.recent = root.recent or recent
            root.ask(_Asked(run=run, prompt=prompt, model=model, at_s=now_s))

    def answered(self, run: Hashable, text: str, *, model: str | None = None) -> None:
        with self._lock:
            root = self._heard_of(run)
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
        shown = list(root.shown) or root.recent
        if shown and root.readings:
            self._done(shown, root.readings)

    def _heard_of(self, run: Hashable) -> _Root[S] | None:
        """The root of a run, which is not idle now."""
        root = self._by_run.get(run)
        if root is not None:
            root.heard_s = self._clock()
            self._roots[root.run] = self._roots.pop(root.run)
        return root

    def _forget(self, root: _Root[S]) -> None:
        del self._roots[root.run]
        for run in root.runs:
            del self._by_run[run]

    def _forget_the_idle(self) -> None:
        while self._roots:
            longest = next(iter(self._roots.values()))
            if len(self._roots) <= MAX_ROOTS and self._clock() - longest.heard_s <= IDLE_S:
                return
            self._forget(longest)
