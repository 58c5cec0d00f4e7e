"""One thread feeds the device: micro-batches of like lengths, and every request in its turn.

A request's pairs are sorted by length and run longest first, in batches under a budget of padded tokens. Each turn
belongs to the next request of the ring, so that a large one does not block a small one; room that it leaves is filled
with pairs of others that are nearly as long. Nothing waits for company. Requests that were cancelled are dropped.
"""

import asyncio
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from contract.tokens import Pair
from service.errors import Overloaded
from service.metrics import Metrics

_SHORTEST_COMPANY: Final = 0.5
"""Pairs shorter than this share of a batch's longest would be mostly padding."""


class Scores(Protocol):
    """What the batcher needs of `score.Scorer`."""

    precision: str

    @property
    def one_by_one(self) -> bool: ...

    def logits(
        self, pairs: Sequence[Pair], first_stage: NDArray[np.float32]
    ) -> NDArray[np.float64]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The logits of one request, and where its time went."""

    logits: NDArray[np.float64]
    """(n,) in the order of the pairs."""
    queue_s: float
    inference_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One request's pairs on their way through the device."""

    scorer: Scores
    pairs: Sequence[Pair]
    first_stage: NDArray[np.float32]
    """(n, 3), one row for each pair."""
    future: "Future[Scored]" = field(default_factory=Future)
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float | None = None
    inference_s: float = 0.0
    waiting: list[int] = field(init=False)
    """Pairs not yet taken, shortest first."""
    unscored: int = field(init=False)
    logits: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = sorted(range(len(self.pairs)), key=self._length)
        self.unscored = len(self.pairs)
        self.logits = np.empty(len(self.pairs))

    def _length(self, index: int) -> int:
        return len(self.pairs[index].ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest waiting pair."""
        return self._length(self.waiting[-1])

    def scored(self) -> Scored:
        queue_s = (self.started_at or self.queued_at) - self.queued_at
        return Scored(logits=self.logits, queue_s=queue_s, inference_s=self.inference_s)

    def take(self, room: int, *, at_least: float = 0, at_most: float = float("inf")) -> list[int]:
        """Removes the longest waiting pairs within bounds, `room` of them at most."""
        end = bisect_right(self.waiting, at_most, key=self._length)
        start = max(bisect_left(self.waiting, at_least, key=self._length), end - room)
        taken = self.waiting[start:end]
        del self.waiting[start:end]
        return taken


Batch = list[tuple[Job, int]]


def next_batch(ring: deque[Job], *, budget_tokens: int) -> Batch:
    """Takes the next run from the ring of waiting jobs, and moves its owner to the end.

    Every pair is of one scorer, and `len(batch) * longest <= budget_tokens` unless a single pair is longer.
    """
    owner = ring[0]
    ring.rotate(-1)
    longest = owner.longest
    room = 1 if owner.scorer.one_by_one else max(1, budget_tokens // longest)
    batch: Batch = [(owner, index) for index in owner.take(room)]
    for job in ring:
        if len(batch) < room and job.scorer is owner.scorer:
            company = job.take(
                room - len(batch), at_least=longest * _SHORTEST_COMPANY, at_most=longest
            )
            batch += [(job, index) for index in company]
    for job in [job for job in ring if not job.waiting]:
        ring.remove(job)
    return batch


class Batcher:
    """The thread, and the way to it."""

    def __init__(self, metrics: Metrics, *, budget_tokens: int) -> None:
        self._metrics = metrics
        self._budget_tokens = budget_tokens
        self._ring: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    async def score(
        self, scorer: Scores, pairs: Sequence[Pair], *, first_stage: NDArray[np.float32]
    ) -> Scored:
        """Every pair's logit. Cancelling the caller drops what has not run yet."""
        job = Job(scorer=scorer, pairs=pairs, first_stage=first_stage)
        with self._changed:
            self._ring.append(job)
            self._changed.notify()
        return await asyncio.wrap_future(job.future)

    def _work(self) -> None:
        while (batch := self._wait()) is not None:
            start = time.perf_counter()
            try:
                logits = _run(batch)
            # Whatever it was, it belongs to these requests; the thread serves the others.
            except Exception as error:  # noqa: BLE001
                self._fail(batch, error)
            else:
                self._observe(batch, time.perf_counter() - start)
                _deliver(batch, logits, started_at=start)

    def _wait(self) -> Batch | None:
        """The next batch, or None when the service stops and nothing waits any more."""
        with self._changed:
            while True:
                self._drop_abandoned()
                if self._ring:
                    return next_batch(self._ring, budget_tokens=self._budget_tokens)
                if self._closing:
                    return None
                self._changed.wait()

    def _drop_abandoned(self) -> None:
        for job in [job for job in self._ring if job.future.cancelled()]:
            self._ring.remove(job)

    def _fail(self, batch: Batch, error: Exception) -> None:
        failed = {id(job): job for job, _ in batch}
        with self._changed:
            for job in failed.values():
                if job in self._ring:
                    self._ring.remove(job)
        for job in failed.values():
            _settle(job, error)

    def _observe(self, batch: Batch, seconds: float) -> None:
        self._metrics.inference_s.observe(seconds)
        self._metrics.pairs.labels(batch[0][0].scorer.precision).inc(len(batch))


def _run(batch: Batch) -> NDArray[np.float64]:
    pairs = [job.pairs[index] for job, index in batch]
    first_stage = np.stack([job.first_stage[index] for job, index in batch])
    return batch[0][0].scorer.logits(pairs, first_stage)


def _deliver(batch: Batch, logits: NDArray[np.float64], *, started_at: float) -> None:
    seconds = time.perf_counter() - started_at
    for (job, index), logit in zip(batch, logits, strict=True):
        job.logits[index] = logit
        job.unscored -= 1
    for job in {id(job): job for job, _ in batch}.values():
        job.started_at = job.started_at or started_at
        job.inference_s += seconds
        if job.unscored == 0:
            _settle(job)


def _settle(job: Job, error: Exception | None = None) -> None:
    # The caller may leave at any moment: false means that nobody waits any more.
    if not job.future.set_running_or_notify_cancel():
        return
    if error is None:
        job.future.set_result(job.scored())
    else:
        job.future.set_exception(error)


class Backlog:
    """How many tokens wait for a score, and the refusal of more."""

    def __init__(self, metrics: Metrics, *, max_tokens: int) -> None:
        self._metrics = metrics
        self._max_tokens = max_tokens
        self._tokens = 0

    @contextmanager
    def admitted(self, tokens: int) -> Iterator[None]:
        """Room for one request while it is inside.  Raises `Overloaded`; an idle service takes any size."""
        if self._tokens and self._tokens + tokens > self._max_tokens:
            self._metrics.overloaded.inc()
            raise Overloaded("too much work waits")
        self._add(tokens)
        try:
            yield
        finally:
            self._add(-tokens)

    def _add(self, tokens: int) -> None:
        self._tokens += tokens
        self._metrics.queued_tokens.set(self._tokens)
