"""What order and admission come to under load, on a device of 10,000 tokens a second that has a clock of its own."""

from bisect import insort
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime import RunOptions

from contract.tokens import Pair
from service.backlog import Backlog, Pace, Ticket
from service.batching import Job, due, next_batch
from service.errors import Overloaded
from service.metrics import Metrics

SMALL, LARGE = 10, 200
"""Documents of 150 tokens: .15 and 3 seconds of work."""
PAIR = Pair(ids=np.zeros(150, np.int64), type_ids=np.zeros(150, np.int64), truncated=False)
TOKEN_S = 1e-4
MEAN_S = 0.9 * 0.15 + 0.1 * 3
"""Nine small requests come for a large one."""


class Scorer:
    """Nothing is ever scored."""

    precision = "float32"
    one_by_one = False
    packed = False

    def logits(
        self,
        pairs: Sequence[Pair],
        first_stage: NDArray[np.float32],
        run_options: RunOptions | None = None,
    ) -> NDArray[np.float64]:
        raise NotImplementedError


@dataclass
class Device:
    """One that is never idle while something waits."""

    scorer: Scorer = field(default_factory=Scorer)
    now: float = 0.0
    waiting: list[Job] = field(default_factory=list)
    inside: dict[Job, tuple[float, AbstractContextManager[Ticket]]] = field(default_factory=dict)
    took: dict[int, list[float]] = field(default_factory=lambda: {SMALL: [], LARGE: []})
    """Seconds that requests of a size took."""

    def __post_init__(self) -> None:
        pace = Pace()
        pace.ran(self.scorer, tokens=1000, seconds=1000 * TOKEN_S)
        self.backlog = Backlog(
            Metrics(), pace, max_tokens=200_000, max_wait_s=10.0, clock=lambda: self.now
        )

    def works_until(self, moment: float) -> None:
        while self.waiting and self.now < moment:
            self.runs()
        self.now = max(self.now, moment)

    def runs(self) -> None:
        batch = next_batch(self.waiting, budget_tokens=1024)
        self.now += len(batch) * 150 * TOKEN_S
        for job, _ in batch:
            self._scored(job)

    def asked(self, documents: int) -> None:
        """Raises `Overloaded`."""
        admitted = self.backlog.admitted(self.scorer, 150 * documents)
        job = Job(
            scorer=self.scorer,
            pairs=[PAIR] * documents,
            first_stage=np.zeros((documents, 3), np.float32),
            ticket=admitted.__enter__(),
        )
        self.inside[job] = self.now, admitted
        insort(self.waiting, job, key=due)

    def _scored(self, job: Job) -> None:
        job.ticket.tokens -= 150
        job.unscored -= 1
        if job.unscored == 0:
            since, admitted = self.inside.pop(job)
            admitted.__exit__(None, None, None)
            self.took[len(job.pairs)].append(self.now - since)

    def p99_s(self, documents: int) -> float:
        return float(np.quantile(self.took[documents], 0.99))


def served(*, load: float, seconds: float, with_large: bool = True) -> Device:
    """A device to which requests came at random for so long, when it is idle again."""
    rng, device = np.random.default_rng(7), Device()
    arrivals = rng.exponential(MEAN_S / load, int(load * seconds / MEAN_S)).cumsum()
    for number, moment in enumerate(arrivals):
        documents = LARGE if number % 10 == 9 else SMALL
        if documents == SMALL or with_large:
            device.works_until(moment)
            with suppress(Overloaded):
                device.asked(documents)
    while device.waiting:
        device.runs()
    return device


def test_small_requests_beside_large_ones_take_hardly_longer_than_alone() -> None:
    mixed, alone = (
        served(load=0.7, seconds=500, with_large=with_large) for with_large in (True, False)
    )

    # Taking turns, it is more than six times.
    assert mixed.p99_s(SMALL) < 1.5 * alone.p99_s(SMALL)
    # Nor is anybody refused.
    assert sum(map(len, mixed.took.values())) == int(0.7 * 500 / MEAN_S)


def test_at_ten_times_its_capacity_all_that_was_let_in_is_answered_before_its_deadline() -> None:
    device = served(load=10.0, seconds=60)

    assert not device.inside
    # Ten seconds after they are due, which is twelve times as late as alone; and the run that was on the device.
    assert device.p99_s(SMALL) < 12 * 0.15 + 10 + 0.1
    assert device.p99_s(LARGE) < 12 * 3 + 10 + 0.1
    # All the time, it worked for them.
    work_s = 0.15 * len(device.took[SMALL]) + 3 * len(device.took[LARGE])
    assert work_s == pytest.approx(device.now, rel=0.02)
