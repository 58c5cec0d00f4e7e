"""The ladder is climbed: each rung learns from what is new, and from as much of what is older as it replays.

Each rung starts from the champion's weights, tries each weight of the divergence, and goes as far as the tune queries
like best: so many epochs, and the whole way there or half of it. Interpolated weights keep what both ends can do
(Wortsman et al., 2022): an attempt too far from the log to be judged, or one that forgets the golden set, is taken at
half its length. A rung that the tune queries do not like less than the champion makes a candidate; the gate chooses.

Shapes: B decisions, N candidates, T steps.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer import steps
from trainer.activations import Activations
from trainer.caps import UNBOUNDED, Shares, capped
from trainer.estimators import MIN_SHARE, Estimate
from trainer.exam import Exam, newest_explored
from trainer.examples import Example
from trainer.golden import GoldenSet
from trainer.ladder import Rung
from trainer.learner import Capacity, Learner, Listing
from trainer.model import Reranker
from trainer.objective import Objective, reinforce
from trainer.ranks import ALONE, Ranks
from trainer.splits import Split, taught_by

logger = logging.getLogger(__name__)

MAX_GRADIENT: Final = 1.0
WARM_UP_STEPS: Final = 10
LENGTHS: Final = (1.0, 0.5)
"""Shares of the way from the champion to where training ended."""
ADMISSIBLE_SHARE: Final = 1.25 * MIN_SHARE
"""Effective share of the gate's decisions, or of the tune queries' where nothing judges, by torch's logits; by those of
the file, which differ a little, the gate asks for `MIN_SHARE`."""
HOPELESS: Final = 0.25
"""A candidate is dropped where its gain on the tune queries is below 0 at this level: they are few, and the gate,
which is asked next, has five times as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A candidate that the tune queries do not like less than the champion."""

    capacity: Capacity
    kl: float
    epoch: int
    """How many were best."""
    length: float
    """Share of the way that was best."""
    state: Mapping[str, Tensor]
    """The changed weights, by name."""
    tune: Estimate
    """Its gain over the champion on the tune queries: chosen as the best of several, hence too good."""
    effective_share: float
    """Of the explored answers by which the gate would judge: under .2 no log can judge it."""
    forgets: bool
    """Whether it ranks the golden set worse than the champion."""
    clipped: Mapping[str, float]
    """Share of free steps whose ratio was cut in the last epoch, for each arm and kind of answer."""

    @property
    def is_admissible(self) -> bool:
        """Whether the gate would look at its gain at all, as far as one can tell by now."""
        return self.effective_share >= ADMISSIBLE_SHARE and not self.forgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all ranks train together: one rung."""

    champion: str
    """The version whose weights it starts from."""
    rung: Rung
    examples: Sequence[Example]
    advantages: Sequence[NDArray[np.float64]]
    """(used,) for each example."""
    temperature: float
    seed: int


def climb(
    champion: Reranker,
    split: Split,
    *,
    rungs: Iterable[Rung],
    activations: Activations,
    golden: GoldenSet,
    temperature: float,
    seed: int,
    shares: Shares = UNBOUNDED,
    version: str = "",
    ranks: Ranks = ALONE,
) -> Iterator[Trained]:
    """The candidates of a round; the champion's weights are what they were when this ends.

    temperature: the champion's, by which all logits are divided.
    shares: that nobody may exceed in what a rung learns from.
    version: the champion's name, by which the other ranks fetch it.
    """
    for rung in rungs:
        train, _ = capped(taught_by(split.train, replay=rung.replay), shares)
        if not train or not split.tune:
            continue
        if len(train) < rung.min_rewards:
            logger.info(
                "rung.skipped capacity=%s rewards=%d of=%d",
                *(rung.capacity, len(train), rung.min_rewards),
            )
            continue
        advantage = _advantages(split.train, rung.objective)
        task = Task(
            champion=version,
            rung=rung,
            examples=train,
            advantages=[advantage[_key(example)] for example in train],
            temperature=temperature,
            seed=seed,
        )
        with ranks.together(task):
            chosen = _taught(champion, task, split, golden, activations, ranks=ranks)
        if chosen.tune.high(HOPELESS) > 0 and chosen.is_admissible:
            yield chosen
        else:
            logger.info(
                "rung.dropped capacity=%s tune_gain=%+.4f effective_share=%.2f forgets=%s",
                *(rung.capacity, chosen.tune.value, chosen.effective_share, chosen.forgets),
            )


def follow(champion: Reranker, task: Task, *, activations: Activations, ranks: Ranks) -> None:
    """What another rank does of a rung: its share of every step of every attempt, and no exam."""
    own = ranks.share(range(len(task.examples)))
    needed = [Listing.of_example(task.examples[at]) for at in own]
    with _learner(champion, task, activations, needed) as learner:
        lesson = _Lesson.of(task, learner, ranks=ranks)
        for kl in task.rung.kls:
            learner.reset()
            for _ in _epochs(learner, lesson, kl=kl):
                pass


def _taught(
    champion: Reranker,
    task: Task,
    split: Split,
    golden: GoldenSet,
    activations: Activations,
    *,
    ranks: Ranks,
) -> Trained:
    own = [task.examples[at] for at in ranks.share(range(len(task.examples)))]
    scored = [*own, *split.tune, *newest_explored(split.gate)]
    needed = [*map(Listing.of_example, scored), *golden.listings]
    with _learner(champion, task, activations, needed) as learner:
        lesson = _Lesson.of(task, learner, ranks=ranks)
        exam = Exam.of(split.tune, split.gate, golden, learner, temperature=task.temperature)
        return best(_attempts(learner, lesson, exam))


def _learner(
    champion: Reranker, task: Task, activations: Activations, needed: Sequence[Listing]
) -> Learner:
    rung = task.rung
    return Learner.of(champion, rung.capacity, activations, needed, rank=rung.rank)


def _advantages(
    examples: Sequence[Example], objective: Objective
) -> Mapping[int, NDArray[np.float64]]:
    """By decision; what to expect is learned from all, whichever of them a rung trains on."""
    return dict(zip(map(_key, examples), steps.advantages(examples, objective), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """A task, and what the champion thinks of this rank's share of it."""

    task: Task
    ranks: Ranks
    listings: Mapping[int, Listing]
    """By place among the examples."""
    champion: Mapping[int, Tensor]

    @classmethod
    def of(cls, task: Task, learner: Learner, *, ranks: Ranks) -> Self:
        own = ranks.share(range(len(task.examples)))
        listings = [Listing.of_example(task.examples[at]) for at in own]
        scored = learner.scored(listings)
        return cls(
            task=task,
            ranks=ranks,
            listings=dict(zip(own, listings, strict=True)),
            champion=dict(zip(own, scored, strict=True)),
        )


def _attempts(learner: Learner, lesson: _Lesson, exam: Exam) -> Iterator[Trained]:
    """One for each weight of the divergence, each epoch and each length."""
    rung = lesson.task.rung
    for kl in rung.kls:
        learner.reset()
        for epoch, clipped in enumerate(_epochs(learner, lesson, kl=kl), 1):
            for length in LENGTHS:
                with learner.part_of_the_way(length):
                    yield Trained(
                        capacity=rung.capacity,
                        kl=kl,
                        epoch=epoch,
                        length=length,
                        state=learner.state(),
                        tune=exam.gain(learner),
                        effective_share=exam.effective_share(learner),
                        forgets=exam.is_forgotten(learner),
                        clipped=clipped,
                    )


def best(attempts: Iterable[Trained]) -> Trained:
    """The one that gains most of the admissible ones; where there is none, the nearest."""

    def worth(attempt: Trained) -> tuple[bool, float]:
        admissible = attempt.is_admissible
        return admissible, attempt.tune.value if admissible else attempt.effective_share

    return max(attempts, key=worth)


def _epochs(learner: Learner, lesson: _Lesson, *, kl: float) -> Iterator[dict[str, float]]:
    task, rung = lesson.task, lesson.task.rung
    optimizer = torch.optim.AdamW(learner.parameters, lr=rung.lr)
    rate = schedule(optimizer, steps=rung.epochs * ceil(len(task.examples) / rung.batch))
    rng = np.random.default_rng(task.seed)
    for _ in range(rung.epochs):
        counts: Counter[tuple[str, bool]] = Counter()
        order = rng.permutation(len(task.examples))
        for start in range(0, len(order), rung.batch):
            chosen = order[start : start + rung.batch].tolist()
            optimizer.zero_grad()
            counts.update(_descend(learner, lesson, chosen, kl=kl))
            lesson.ranks.sum_gradients(learner.parameters)
            nn.utils.clip_grad_norm_(learner.parameters, MAX_GRADIENT)
            optimizer.step()
            rate.step()
        yield _clip_shares(lesson.ranks.summed(counts))


def schedule(optimizer: torch.optim.Optimizer, *, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A short rise, then a straight fall to 0: at a constant rate the last few batches decide too much."""

    def share(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP_STEPS, max(0.0, 1 - step / steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _descend(
    learner: Learner, lesson: _Lesson, chosen: Sequence[int], *, kl: float
) -> Counter[tuple[str, bool]]:
    """This rank's part of the gradient of a batch: summed over ranks it is that of the batch's mean.

    Returns how many free steps were cut and how many not, by kind of answer.
    """
    task, counts = lesson.task, Counter[tuple[str, bool]]()

    def loss(part: Sequence[int]) -> Tensor:
        examples = [task.examples[at] for at in part]
        logged = steps.collate(examples, [task.advantages[at] for at in part])
        found = reinforce(
            steps.padded(learner.scores([lesson.listings[at] for at in part])) / task.temperature,
            logged,
            champion_BN=steps.padded([lesson.champion[at] for at in part]) / task.temperature,
            objective=task.rung.objective,
            kl=kl,
        )
        for example, clipped_T, free_T in zip(
            examples, found.clipped_BT, logged.free_BT, strict=True
        ):
            counts[_kind(example), True] += int(clipped_T.sum())
            counts[_kind(example), False] += int((free_T & ~clipped_T).sum())
        return found.total

    learner.descend(lesson.ranks.share(chosen), loss, of=len(chosen))
    return counts


def _clip_shares(counts: Counter[tuple[str, bool]]) -> dict[str, float]:
    totals = {kind: counts[kind, True] + counts[kind, False] for kind, _ in counts}
    return {kind: counts[kind, True] / total for kind, total in totals.items() if total}


def _kind(example: Example) -> str:
    decision = example.decision
    return f"{decision.arm}/{'explored' if decision.choice.explored else 'greedy'}"


def _key(example: Example) -> int:
    return example.decision.id.int
