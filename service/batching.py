"""One thread feeds the device: micro-batches of like lengths, of the request that is due first.

A request's pairs are sorted by length and run longest first, in batches under a budget of tokens: padded ones, or real
ones where the model runs without padding. Each batch belongs to the request that is due first, so that a large one does
not block a small one; room that it leaves is filled with pairs of others that are nearly as long. Nothing waits for
company. Requests that were cancelled are dropped, and a run that nobody waits for any more is ended.
"""

import asyncio
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.tokens import Pair
from service import backlog
from service.backlog import Pace, Ticket
from service.errors import Overloaded
from service.metrics import Metrics

_SHORTEST_COMPANY: Final = 0.5
"""Pairs shorter than this share of a batch's longest would be mostly padding."""


class Scores(Protocol):
    """What the batcher needs of `score.Scorer`."""

    precision: str

    @property
    def one_by_one(self) -> bool: ...

    @property
    def packed(self) -> bool: ...

    def logits(
        self,
        pairs: Sequence[Pair],
        first_stage: NDArray[np.float32],
        run_options: onnxruntime.RunOptions | None = None,
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
    ticket: Ticket
    future: "Future[Scored]" = field(default_factory=Future)
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float | None = None
    inference_s: float = 0.0
    waiting: list[int] = field(init=False)
    """Pairs not yet taken, shortest first."""
    unscored: int = field(init=False)
    logits: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = sorted(range(len(self.pairs)), key=self.length)
        self.unscored = len(self.pairs)
        self.logits = np.empty(len(self.pairs))

    def length(self, index: int) -> int:
        return len(self.pairs[index].ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest waiting pair."""
        return self.length(self.waiting[-1])

    def scored(self) -> Scored:
        queue_s = (self.started_at or self.queued_at) - self.queued_at
        return Scored(logits=self.logits, queue_s=queue_s, inference_s=self.inference_s)

    def take(
        self,
        room_tokens: int,
        *,
        padded_to: int | None,
        at_least: float,
        at_most: float,
    ) -> list[int]:
        """Removes the longest waiting pairs within bounds, as many as there is room for.

        padded_to: what each of them takes of the room; None for its own length.
        """
        end = start = bisect_right(self.waiting, at_most, key=self.length)
        first = bisect_left(self.waiting, at_least, key=self.length)
        while start > first:
            room_tokens -= padded_to or self.length(self.waiting[start - 1])
            if room_tokens < 0:
                break
            start -= 1
        taken = self.waiting[start:end]
        del self.waiting[start:end]
        return taken


Batch = list[tuple[Job, int]]


def due(job: Job) -> float:
    """What waiting jobs are ordered by."""
    return job.ticket.due_at


def next_batch(waiting: list[Job], *, budget_tokens: int) -> Batch:
    """Takes the next run from the waiting jobs, which are ordered by when they are due: the first one is its owner.

    No pair is shorter than half the longest one: even a graph that drops padding has some, in its embeddings and its
    last layer. Every pair is of one scorer, and `len(batch) * longest <= budget_tokens`, or for a scorer without
    padding the sum of lengths, unless a single pair is longer.
    """
    owner = waiting[0]
    longest, scorer = owner.longest, owner.scorer
    padded_to = None if scorer.packed else longest
    room = longest if scorer.one_by_one else max(longest, budget_tokens)
    shortest = longest * _SHORTEST_COMPANY
    batch: Batch = []
    for job in waiting:
        if room < (padded_to or shortest):
            break
        if job.scorer is scorer:
            taken = job.take(room, padded_to=padded_to, at_least=shortest, at_most=longest)
            room -= sum(padded_to or job.length(index) for index in taken)
            batch += [(job, index) for index in taken]
    waiting[:] = [job for job in waiting if job.waiting]
    return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A batch on the device."""

    batch: Batch
    since: float
    """When the device was free for it."""
    options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)

    @property
    def jobs(self) -> list[Job]:
        return list({id(job): job for job, _ in self.batch}.values())

    @property
    def tokens(self) -> int:
        return sum(job.length(index) for job, index in self.batch)

    def logits(self) -> NDArray[np.float64]:
        pairs = [job.pairs[index] for job, index in self.batch]
        first_stage = np.stack([job.first_stage[index] for job, index in self.batch])
        return self.batch[0][0].scorer.logits(pairs, first_stage, self.options)


class Batcher:
    """The thread, and the way to it."""

    def __init__(self, metrics: Metrics, *, budget_tokens: int) -> None:
        self.pace: Final = Pace()
        self._metrics = metrics
        self._budget_tokens = budget_tokens
        self._waiting: list[Job] = []
        """By when they are due."""
        self._running: _Run | None = None
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
        self,
        scorer: Scores,
        pairs: Sequence[Pair],
        *,
        first_stage: NDArray[np.float32],
        ticket: Ticket | None = None,
    ) -> Scored:
        """Every pair's logit. Cancelling the caller drops what has not run yet, and ends a run for nobody else.

        ticket: of the backlog; without one, the pairs are due at once and for ever.  Raises `Overloaded` when their
        deadline passes before the first of them has run.
        """
        tokens = sum(len(pair.ids) for pair in pairs)
        ticket = ticket or Ticket(scorer=scorer, tokens=tokens)
        ticket.tokens = tokens
        job = Job(scorer=scorer, pairs=pairs, first_stage=first_stage, ticket=ticket)
        job.future.add_done_callback(self._end_if_left)
        with self._changed:
            insort(self._waiting, job, key=due)
            self._changed.notify()
        return await asyncio.wrap_future(job.future)

    def _work(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One run; false when the service stops and nothing waits any more.

        What it holds, it holds no longer than that: a thread that waits must not keep a retired model alive.
        """
        if (run := self._next()) is None:
            return False
        start = time.perf_counter()
        try:
            logits = run.logits()
        # Whatever it was, it belongs to these requests; the thread serves the others.
        except Exception as error:  # noqa: BLE001
            self._fail(run, error)
        else:
            self._observe(run, started_at=start)
            _deliver(run, logits, started_at=start)
        finally:
            self._running = None
        return True

    def _next(self) -> _Run | None:
        with self._changed:
            while True:
                since = time.perf_counter()
                self._drop_overdue(since)
                if self._waiting:
                    batch = next_batch(self._waiting, budget_tokens=self._budget_tokens)
                    self._running = _Run(batch=batch, since=since)
                    return self._running
                if self._closing:
                    return None
                self._changed.wait()

    def _drop_overdue(self, now: float) -> None:
        """Those whose clients left; and those whose deadline passed, where no work would be lost with them."""
        wanted = [job for job in self._waiting if not job.future.cancelled()]
        late = [job for job in wanted if job.started_at is None and job.ticket.deadline_at < now]
        self._waiting = [job for job in wanted if job not in late]
        wait_s = backlog.work_s([job.ticket for job in self._waiting], self.pace) if late else 0.0
        for job in late:
            self._metrics.expired.inc()
            _settle(job, Overloaded("it waited beyond its deadline", retry_after_s=wait_s))

    def _end_if_left(self, future: "Future[Scored]") -> None:
        """Ends the run that has pairs of nobody else."""
        if not future.cancelled():
            return
        with self._changed:
            run = self._running
            if run is not None and all(job.future.cancelled() for job in run.jobs):
                self._running = None
                run.options.terminate = True
                self._metrics.terminated.inc()

    def _fail(self, run: _Run, error: Exception) -> None:
        failed = run.jobs
        with self._changed:
            self._waiting = [job for job in self._waiting if job not in failed]
        for job in failed:
            _settle(job, error)

    def _observe(self, run: _Run, *, started_at: float) -> None:
        scorer, now = run.batch[0][0].scorer, time.perf_counter()
        self.pace.ran(scorer, tokens=run.tokens, seconds=now - run.since)
        self._metrics.inference_s.observe(now - started_at)
        self._metrics.pairs.labels(scorer.precision).inc(len(run.batch))


def _deliver(run: _Run, logits: NDArray[np.float64], *, started_at: float) -> None:
    seconds = time.perf_counter() - started_at
    for (job, index), logit in zip(run.batch, logits, strict=True):
        job.logits[index] = logit
        job.unscored -= 1
        job.ticket.tokens -= job.length(index)
    for job in run.jobs:
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
