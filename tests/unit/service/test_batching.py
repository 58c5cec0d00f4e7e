import asyncio
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, RunOptions

from contract.tokens import Pair
from service.backlog import Ticket
from service.batching import Batcher, Job, next_batch
from service.errors import Overloaded
from service.metrics import Metrics


@dataclass(eq=False)
class FakeScorer:
    """Scores a pair by its length, and remembers every run."""

    precision: str = "float32"
    one_by_one: bool = False
    packed: bool = False
    began: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    runs: list[list[int]] = field(default_factory=list)
    fails: bool = False

    def logits(
        self,
        pairs: Sequence[Pair],
        first_stage: NDArray[np.float32],
        run_options: RunOptions | None = None,
    ) -> NDArray[np.float64]:
        self.began.set()
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


def job(scorer: FakeScorer, *lengths: int, due_at: float = 0.0) -> Job:
    ticket = Ticket(scorer=scorer, tokens=sum(lengths), due_at=due_at)
    return Job(
        scorer=scorer, pairs=pairs(*lengths), first_stage=features(len(lengths)), ticket=ticket
    )


def taken(waiting: list[Job], budget: int = 100) -> list[tuple[Job, int]]:
    return [
        (owner, owner.length(index)) for owner, index in next_batch(waiting, budget_tokens=budget)
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
    waiting = [one]

    assert taken(waiting) == [(one, 40), (one, 50)]
    assert taken(waiting) == [(one, 20), (one, 30)]
    assert taken(waiting) == [(one, 10)]
    assert not waiting


def test_a_pair_longer_than_the_budget_runs_alone() -> None:
    one = job(FakeScorer(), 500, 1)
    waiting = [one]

    assert taken(waiting) == [(one, 500)]
    assert taken(waiting) == [(one, 1)]


def test_the_request_that_is_due_first_has_the_next_run_until_it_is_through() -> None:
    scorer = FakeScorer()
    small, large = job(scorer, *[50] * 4, due_at=2.0), job(scorer, *[50] * 4, due_at=7.0)
    waiting = [small, large]

    owners = [taken(waiting)[0][0] for _ in range(4)]

    assert owners == [small, small, large, large]


def test_room_is_filled_with_pairs_of_others_that_are_nearly_as_long() -> None:
    scorer = FakeScorer()
    owner, other = job(scorer, 25), job(scorer, 30, 25, 13, 12, 20, due_at=1.0)
    waiting = [owner, other]

    # 30 is longer than the run, 12 less than half of it.
    assert sorted(length for _, length in taken(waiting)) == [13, 20, 25, 25]
    assert [length for _, length in taken(waiting)] == [30]
    assert [length for _, length in taken(waiting)] == [12]


def test_pairs_of_two_models_never_meet() -> None:
    old, new = job(FakeScorer(), 10), job(FakeScorer(), 10)

    assert taken([old, new]) == [(old, 10)]


def test_a_scorer_that_takes_one_pair_gets_one() -> None:
    one = job(FakeScorer(one_by_one=True), 10, 20)

    assert taken([one]) == [(one, 20)]


def test_without_padding_a_run_takes_as_many_tokens_as_fit() -> None:
    one, other = job(FakeScorer(packed=True), 10, 50, 30, 20, 40), job(FakeScorer(), 60)
    waiting = [one, other]

    # Padded, 40 and 30 would not fit beside 50.
    assert taken(waiting, budget=120) == [(one, 30), (one, 40), (one, 50)]
    assert taken(waiting, budget=120) == [(one, 10), (one, 20)]


def test_a_run_leaves_what_is_less_than_half_as_long_to_the_next_one() -> None:
    one = job(FakeScorer(), 50, 24, 25)
    waiting = [one]

    # Three pairs of 50 would fit.
    assert taken(waiting, budget=150) == [(one, 25), (one, 50)]
    assert taken(waiting, budget=150) == [(one, 24)]


def test_without_padding_room_is_filled_up_to_the_last_token() -> None:
    scorer = FakeScorer(packed=True)
    owner, other = job(scorer, 25), job(scorer, 25, 20, 13, 12, due_at=1.0)

    # 25 + 25 + 20 + 13 are 83, and 12 is less than half of the longest.
    assert sorted(length for _, length in taken([owner, other], budget=83)) == [13, 20, 25, 25]


@given(
    lengths=st.lists(
        st.lists(st.integers(1, 300), min_size=1, max_size=12), min_size=1, max_size=6
    ),
    budget=st.integers(1, 600),
    packed=st.booleans(),
)
def test_every_pair_runs_once_and_no_run_breaks_the_budget_or_is_mostly_padding(
    lengths: list[list[int]], budget: int, *, packed: bool
) -> None:
    scorer = FakeScorer(packed=packed)
    jobs = [job(scorer, *each) for each in lengths]
    waiting = list(jobs)
    ran: list[tuple[int, int]] = []

    while waiting:
        batch = next_batch(waiting, budget_tokens=budget)
        took = [owner.length(index) for owner, index in batch]
        tokens = sum(took) if packed else len(took) * max(took)
        assert tokens <= budget or len(took) == 1
        assert 2 * min(took) >= max(took)
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


async def test_a_request_that_is_due_sooner_overtakes_what_has_not_run(batcher: Batcher) -> None:
    scorer = FakeScorer()
    late, soon = (Ticket(scorer=scorer, tokens=1, due_at=due_at) for due_at in (2.0, 1.0))
    large = asyncio.create_task(
        batcher.score(scorer, pairs(*[90] * 50), first_stage=features(50), ticket=late)
    )
    await asyncio.sleep(0)
    small = asyncio.create_task(
        batcher.score(scorer, pairs(80), first_stage=features(1), ticket=soon)
    )
    await asyncio.sleep(0)
    scorer.gate.set()

    await asyncio.gather(large, small)

    # The large one may have begun, and its run is not taken back.
    assert scorer.runs.index([80]) <= 1
    assert (late.tokens, soon.tokens) == (0, 0)


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


async def test_what_waited_beyond_its_deadline_is_refused_and_takes_no_run(
    batcher: Batcher, metrics: Metrics
) -> None:
    scorer = FakeScorer()
    scorer.gate.set()
    late = Ticket(scorer=scorer, tokens=1, deadline_at=time.perf_counter())

    with pytest.raises(Overloaded, match="beyond its deadline"):
        await batcher.score(scorer, pairs(60), first_stage=features(1), ticket=late)

    assert scorer.runs == []
    assert metrics.registry.get_sample_value("rankloop_expired_total") == 1


async def test_what_has_begun_is_finished_beyond_its_deadline(batcher: Batcher) -> None:
    scorer = FakeScorer()
    ticket = Ticket(scorer=scorer, tokens=1)
    task = asyncio.create_task(
        batcher.score(scorer, pairs(60, 60), first_stage=features(2), ticket=ticket)
    )
    await asyncio.to_thread(scorer.began.wait, 10)
    ticket.deadline_at = time.perf_counter()
    scorer.gate.set()

    assert (await task).logits.tolist() == [60, 60]


async def test_the_pace_is_learned_from_runs(batcher: Batcher) -> None:
    scorer = FakeScorer()
    scorer.gate.set()

    await batcher.score(scorer, pairs(60, 60), first_stage=features(2))

    assert batcher.pace.seconds(scorer, 1) > 0


class SlowScorer(FakeScorer):
    """A real session that counts for longer than any test waits."""

    def __init__(self) -> None:
        super().__init__()
        self.session = InferenceSession(counting().SerializeToString())

    def logits(
        self,
        pairs: Sequence[Pair],
        first_stage: NDArray[np.float32],
        run_options: RunOptions | None = None,
    ) -> NDArray[np.float64]:
        self.began.set()
        (found,) = self.session.run(["logit"], {"turns": np.array(10**8)}, run_options)
        return np.full(len(pairs), found, dtype=np.float64)


def counting() -> onnx.ModelProto:
    """A graph that adds one as many times as it is told."""
    flag = helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["count", "one"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            flag,
            helper.make_tensor_value_info("count", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "", "zero"], ["logit"], body=body)],
        "counting",
        [helper.make_tensor_value_info("turns", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, [])],
        [
            numpy_helper.from_array(np.array(value, dtype=np.float32), name)
            for name, value in (("zero", 0.0), ("one", 1.0))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


async def test_a_run_that_everybody_left_is_ended_and_the_next_one_begins(
    batcher: Batcher, metrics: Metrics
) -> None:
    slow, scorer = SlowScorer(), FakeScorer()
    scorer.gate.set()
    gone = asyncio.create_task(batcher.score(slow, pairs(90), first_stage=features(1)))
    await asyncio.to_thread(slow.began.wait, 10)
    gone.cancel()

    scored = await batcher.score(scorer, pairs(5), first_stage=features(1))

    assert scored.logits.tolist() == [5]
    assert metrics.registry.get_sample_value("rankloop_terminated_total") == 1


async def test_a_run_that_somebody_waits_for_goes_on(batcher: Batcher, metrics: Metrics) -> None:
    scorer = FakeScorer()
    waits, gone = (
        asyncio.create_task(batcher.score(scorer, pairs(40), first_stage=features(1)))
        for _ in range(2)
    )
    await asyncio.to_thread(scorer.began.wait, 10)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    scorer.gate.set()

    assert (await waits).logits.tolist() == [40]
    assert metrics.registry.get_sample_value("rankloop_terminated_total") == 0


async def test_an_idle_batcher_keeps_no_scorer_alive(batcher: Batcher) -> None:
    scorer = FakeScorer()
    scorer.gate.set()
    await batcher.score(scorer, pairs(5), first_stage=features(1))
    gone = weakref.ref(scorer)

    del scorer

    for _ in range(100):
        if gone() is None:
            break
        await asyncio.sleep(0.01)
    assert gone() is None
