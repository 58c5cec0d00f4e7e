import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.tokens import Pair
from service.batching import Backlog, Batcher, Job, next_batch
from service.errors import Overloaded
from service.metrics import Metrics


@dataclass(eq=False)
class FakeScorer:
    """Scores a pair by its length, and remembers every run."""

    precision: str = "float32"
    one_by_one: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    runs: list[list[int]] = field(default_factory=list)
    fails: bool = False

    def logits(
        self, pairs: Sequence[Pair], first_stage: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        self.gate.wait(timeout=10)
        self.runs.append([len(pair.ids) for pair in pairs])
        if self.fails:
            raise RuntimeError("the device fell over")
        return np.array(self.runs[-1], dtype=np.float64) + first_stage[:, 0]


def pairs(*lengths: int) -> list[Pair]:
    blank = [np.zeros(length, dtype=np.int64) for length in lengths]
    return [Pair(ids=ids, type_ids=ids, truncated=False) for ids in blank]


def features(count: int) -> NDArray[np.float32]:
    return np.zeros((count, 3), dtype=np.float32)


def job(scorer: FakeScorer, *lengths: int) -> Job:
    return Job(scorer=scorer, pairs=pairs(*lengths), first_stage=features(len(lengths)))


def taken(ring: deque[Job], budget: int = 100) -> list[tuple[Job, int]]:
    return [
        (owner, len(owner.pairs[index].ids))
        for owner, index in next_batch(ring, budget_tokens=budget)
    ]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def batcher(metrics: Metrics) -> Iterator[Batcher]:
    with Batcher(metrics, budget_tokens=100) as batcher:
        yield batcher


def test_a_run_takes_the_longest_pairs_that_fit_the_budget_when_padded() -> None:
    one = job(FakeScorer(), 10, 50, 30, 20, 40)
    ring = deque([one])

    assert taken(ring) == [(one, 40), (one, 50)]
    assert taken(ring) == [(one, 10), (one, 20), (one, 30)]
    assert not ring


def test_a_pair_longer_than_the_budget_runs_alone() -> None:
    one = job(FakeScorer(), 500, 1)
    ring = deque([one])

    assert taken(ring) == [(one, 500)]
    assert taken(ring) == [(one, 1)]


def test_requests_take_turns() -> None:
    scorer = FakeScorer()
    large, small = job(scorer, *[50] * 6), job(scorer, 50, 50)
    ring = deque([large, small])

    owners = [taken(ring)[0][0] for _ in range(4)]

    assert owners == [large, small, large, large]


def test_room_is_filled_with_pairs_of_others_that_are_nearly_as_long() -> None:
    scorer = FakeScorer()
    owner, other = job(scorer, 25), job(scorer, 30, 25, 13, 12, 20)
    ring = deque([owner, other])

    # 30 is longer than the run, 12 less than half of it.
    assert sorted(length for _, length in taken(ring)) == [13, 20, 25, 25]
    assert [length for _, length in taken(ring)] == [12, 30]


def test_pairs_of_two_models_never_meet() -> None:
    old, new = job(FakeScorer(), 10), job(FakeScorer(), 10)

    assert taken(deque([old, new])) == [(old, 10)]


def test_a_scorer_that_takes_one_pair_gets_one() -> None:
    one = job(FakeScorer(one_by_one=True), 10, 20)

    assert taken(deque([one])) == [(one, 20)]


@given(
    st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(1, 600),
)
def test_every_pair_runs_once_and_no_run_breaks_the_budget(
    lengths: list[list[int]], budget: int
) -> None:
    scorer = FakeScorer()
    jobs = [job(scorer, *each) for each in lengths]
    ring = deque(jobs)
    ran: list[tuple[int, int]] = []

    while ring:
        batch = next_batch(ring, budget_tokens=budget)
        padded = len(batch) * max(len(owner.pairs[index].ids) for owner, index in batch)
        assert padded <= budget or len(batch) == 1
        ran += [(jobs.index(owner), index) for owner, index in batch]

    assert sorted(ran) == [(j, i) for j, each in enumerate(lengths) for i in range(len(each))]


async def test_each_request_gets_its_own_scores_in_its_own_order(batcher: Batcher) -> None:
    scorer = FakeScorer()
    shift = np.array([[0.5, 0, 0], [0.25, 0, 0]], dtype=np.float32)
    tasks = [
        asyncio.create_task(batcher.score(scorer, pairs(30, 70), first_stage=shift)),
        asyncio.create_task(batcher.score(scorer, pairs(9, 3, 6), first_stage=features(3))),
    ]
    scorer.gate.set()

    one, two = await asyncio.gather(*tasks)

    assert one.logits.tolist() == [30.5, 70.25]
    assert two.logits.tolist() == [9, 3, 6]
    assert two.queue_s >= 0
    assert two.inference_s > 0


async def test_a_small_request_does_not_wait_for_a_large_one(batcher: Batcher) -> None:
    scorer = FakeScorer()
    large = asyncio.create_task(batcher.score(scorer, pairs(*[90] * 50), first_stage=features(50)))
    await asyncio.sleep(0)
    small = asyncio.create_task(batcher.score(scorer, pairs(80), first_stage=features(1)))
    await asyncio.sleep(0)
    scorer.gate.set()

    await asyncio.gather(large, small)

    # The large one may have begun, and then they take turns.
    assert scorer.runs.index([80]) <= 2


async def test_an_abandoned_request_is_dropped(batcher: Batcher) -> None:
    scorer = FakeScorer()
    first = asyncio.create_task(batcher.score(scorer, pairs(90), first_stage=features(1)))
    await asyncio.sleep(0)
    gone = asyncio.create_task(batcher.score(scorer, pairs(*[80] * 9), first_stage=features(9)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    scorer.gate.set()
    await first

    await batcher.score(scorer, pairs(70), first_stage=features(1))

    assert [80] not in scorer.runs[1:]
    assert scorer.runs[-1] == [70]


async def test_a_failing_run_fails_its_requests_and_no_later_one(batcher: Batcher) -> None:
    scorer = FakeScorer(fails=True)
    scorer.gate.set()

    with pytest.raises(RuntimeError, match="fell over"):
        await batcher.score(scorer, pairs(60, 60), first_stage=features(2))
    scorer.fails = False
    scored = await batcher.score(scorer, pairs(5), first_stage=features(1))

    assert scored.logits.tolist() == [5]


def test_a_full_backlog_refuses_and_room_comes_back(metrics: Metrics) -> None:
    backlog = Backlog(metrics, max_tokens=100)

    with backlog.admitted(60):
        with backlog.admitted(40), pytest.raises(Overloaded), backlog.admitted(1):
            pass
        with backlog.admitted(30):
            pass

    assert metrics.registry.get_sample_value("rankloop_queued_tokens") == 0
    assert metrics.registry.get_sample_value("rankloop_overloaded_total") == 1


def test_an_idle_service_takes_a_request_of_any_size(metrics: Metrics) -> None:
    with Backlog(metrics, max_tokens=100).admitted(5000):
        assert metrics.registry.get_sample_value("rankloop_queued_tokens") == 5000
