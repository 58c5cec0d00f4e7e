"""The ladder of capacity: the fusion weights over everything since the base, the last layer over what is new.

Each rung starts from the champion's weights, tries each weight of the divergence, and goes as far as the tune queries
like best: so many epochs, and the whole way there or half of it. Interpolated weights keep what both ends can do
(Wortsman et al., 2022): an attempt too far from the log to be judged, or one that forgets the golden set, is taken at
half its length. A rung that the tune queries do not like less than the champion makes a candidate; the gate chooses.

Shapes: B decisions, N candidates, T steps.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer import calibration, steps
from trainer.activations import Activations
from trainer.estimators import MIN_SHARE, Estimate, Evidence, delta_beta_ips, effective_share
from trainer.examples import Example
from trainer.golden import GoldenSet
from trainer.learner import Capacity, Learner, Listing
from trainer.model import Reranker
from trainer.objective import Objective, reinforce, step_log_prob
from trainer.settings import TrainerSettings
from trainer.splits import Split, cluster

MAX_GRADIENT: Final = 1.0
WARM_UP_STEPS: Final = 10
LENGTHS: Final = (1.0, 0.5)
"""Shares of the way from the champion to where training ended."""
TUNE_MIN_SHARE: Final = 1.5 * MIN_SHARE
"""Effective share among the tune queries: they are few, and the gate's are others."""

HOPELESS: Final = 0.25
"""A candidate is dropped where its gain on the tune queries is below 0 at this level: they are few, and the gate,
which is asked next, has five times as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """How one capacity is trained."""

    capacity: Capacity
    lr: float
    epochs: int
    kls: tuple[float, ...]
    objective: Objective
    batch: int


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
    """Of the explored answers about the tune queries: under .2 no log can judge it."""
    forgets: bool
    """Whether it ranks the golden set worse than the champion."""
    clipped: Mapping[str, float]
    """Share of free steps whose ratio was cut in the last epoch, for each arm and kind of answer."""

    @property
    def is_admissible(self) -> bool:
        """Whether the gate would look at its gain at all, as far as the tune queries can tell."""
        return self.effective_share >= TUNE_MIN_SHARE and not self.forgets


def ladder(settings: TrainerSettings) -> tuple[Rung, ...]:
    """Smallest first."""

    def rung(capacity: Capacity, *, lr: float, epochs: int) -> Rung:
        return Rung(
            capacity=capacity,
            lr=lr,
            epochs=epochs,
            kls=settings.trainer_kl,
            objective=settings.objective,
            batch=settings.trainer_batch,
        )

    rungs = (
        rung(
            Capacity.FUSION,
            lr=settings.trainer_fusion_lr,
            epochs=settings.trainer_fusion_epochs,
        ),
        rung(
            Capacity.LAST_LAYER,
            lr=settings.trainer_last_layer_lr,
            epochs=settings.trainer_last_layer_epochs,
        ),
    )
    return tuple(each for each in rungs if each.capacity in settings.trainer_capacities)


def climb(
    champion: Reranker,
    split: Split,
    *,
    rungs: Iterable[Rung],
    activations: Activations,
    golden: GoldenSet,
    temperature: float,
    seed: int,
) -> Iterator[Trained]:
    """The candidates of a round; the champion's weights are what they were when this ends.

    temperature: the champion's, by which all logits are divided.
    """
    for rung in rungs:
        train = [each for each in split.train if each.fresh or rung.capacity is Capacity.FUSION]
        if not train or not split.tune:
            continue
        needed = [*map(Listing.of_example, [*train, *split.tune]), *golden.listings]
        with Learner.of(champion, rung.capacity, activations, needed) as learner:
            advantage = _advantages(split.train, rung.objective)
            lesson = _Lesson.of(train, advantage, learner, temperature=temperature)
            exam = _Exam.of(split.tune, golden, learner, temperature=temperature)
            chosen = best(_attempts(learner, lesson, exam, rung=rung, seed=seed))
        if chosen.tune.high(HOPELESS) > 0 and chosen.is_admissible:
            yield chosen


def _advantages(
    examples: Sequence[Example], objective: Objective
) -> Mapping[int, NDArray[np.float64]]:
    """By decision; what to expect is learned from all, whichever of them a rung trains on."""
    return dict(zip(map(_key, examples), steps.advantages(examples, objective), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """Examples with what the champion thinks of them."""

    examples: Sequence[Example]
    listings: Sequence[Listing]
    advantages: Sequence[NDArray[np.float64]]
    champion: Sequence[Tensor]
    temperature: float

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        advantages: Mapping[int, NDArray[np.float64]],
        learner: Learner,
        *,
        temperature: float,
    ) -> Self:
        listings = [Listing.of_example(example) for example in examples]
        return cls(
            examples=examples,
            listings=listings,
            advantages=[advantages[_key(example)] for example in examples],
            champion=learner.scored(listings),
            temperature=temperature,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exam:
    """What an attempt is asked, with the champion's answers."""

    tune: Sequence[Example]
    listings: Sequence[Listing]
    champion: Sequence[Tensor]
    golden: GoldenSet
    remembered: Sequence[Tensor]
    """The champion's logits of the golden lists."""
    temperature: float

    @classmethod
    def of(
        cls, tune: Sequence[Example], golden: GoldenSet, learner: Learner, *, temperature: float
    ) -> Self:
        listings = [Listing.of_example(example) for example in tune]
        return cls(
            tune=tune,
            listings=listings,
            champion=learner.scored(listings),
            golden=golden,
            remembered=learner.scored(golden.listings),
            temperature=temperature,
        )

    def evidence(self, learner: Learner) -> Evidence:
        candidate = learner.scored(self.listings)
        return _evidence(self.tune, candidate, self.champion, temperature=self.temperature)

    def is_forgotten(self, learner: Learner) -> bool:
        """Whether the golden set would refuse these weights."""
        return self.golden.is_forgotten(
            learner.scored(self.golden.listings), champion=self.remembered
        )


def _attempts(
    learner: Learner, lesson: _Lesson, exam: _Exam, *, rung: Rung, seed: int
) -> Iterator[Trained]:
    """One for each weight of the divergence, each epoch and each length."""
    for kl in rung.kls:
        learner.reset()
        for epoch, clipped in enumerate(_epochs(learner, lesson, rung=rung, kl=kl, seed=seed), 1):
            for length in LENGTHS:
                with learner.part_of_the_way(length):
                    evidence = exam.evidence(learner)
                    yield Trained(
                        capacity=rung.capacity,
                        kl=kl,
                        epoch=epoch,
                        length=length,
                        state=learner.state(),
                        tune=delta_beta_ips(evidence),
                        effective_share=effective_share(evidence),
                        forgets=exam.is_forgotten(learner),
                        clipped=clipped,
                    )


def best(attempts: Iterable[Trained]) -> Trained:
    """The one that gains most of the admissible ones; where there is none, the nearest."""

    def worth(attempt: Trained) -> tuple[bool, float]:
        admissible = attempt.is_admissible
        return admissible, attempt.tune.value if admissible else attempt.effective_share

    return max(attempts, key=worth)


def _epochs(
    learner: Learner, lesson: _Lesson, *, rung: Rung, kl: float, seed: int
) -> Iterator[dict[str, float]]:
    optimizer = torch.optim.AdamW(learner.parameters, lr=rung.lr)
    rate = schedule(optimizer, steps=rung.epochs * ceil(len(lesson.examples) / rung.batch))
    rng = np.random.default_rng(seed)
    for _ in range(rung.epochs):
        counts: Counter[tuple[str, bool]] = Counter()
        order = rng.permutation(len(lesson.examples))
        for start in range(0, len(order), rung.batch):
            chosen = order[start : start + rung.batch].tolist()
            counts.update(_update(learner, lesson, chosen, optimizer=optimizer, rung=rung, kl=kl))
            rate.step()
        yield _clip_shares(counts)


def schedule(optimizer: torch.optim.Optimizer, *, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A short rise, then a straight fall to 0: at a constant rate the last few batches decide too much."""

    def share(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP_STEPS, max(0.0, 1 - step / steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _update(
    learner: Learner,
    lesson: _Lesson,
    chosen: Sequence[int],
    *,
    optimizer: torch.optim.Optimizer,
    rung: Rung,
    kl: float,
) -> Counter[tuple[str, bool]]:
    """One step of the optimiser.  Returns how many free steps were cut and how many not, by kind of answer."""
    examples = [lesson.examples[at] for at in chosen]
    logged = steps.collate(examples, [lesson.advantages[at] for at in chosen])
    loss = reinforce(
        steps.padded(learner.scores([lesson.listings[at] for at in chosen])) / lesson.temperature,
        logged,
        champion_BN=steps.padded([lesson.champion[at] for at in chosen]) / lesson.temperature,
        objective=rung.objective,
        kl=kl,
    )
    optimizer.zero_grad()
    torch.autograd.backward(loss.total)
    nn.utils.clip_grad_norm_(learner.parameters, MAX_GRADIENT)
    optimizer.step()
    counts: Counter[tuple[str, bool]] = Counter()
    for example, clipped_T, free_T in zip(examples, loss.clipped_BT, logged.free_BT, strict=True):
        counts[_kind(example), True] += int(clipped_T.sum())
        counts[_kind(example), False] += int((free_T & ~clipped_T).sum())
    return counts


def _clip_shares(counts: Counter[tuple[str, bool]]) -> dict[str, float]:
    totals = {kind: counts[kind, True] + counts[kind, False] for kind, _ in counts}
    return {kind: counts[kind, True] / total for kind, total in totals.items() if total}


def _kind(example: Example) -> str:
    decision = example.decision
    return f"{decision.arm}/{'explored' if decision.choice.explored else 'greedy'}"


def _evidence(
    examples: Sequence[Example],
    candidate: Sequence[Tensor],
    champion: Sequence[Tensor],
    *,
    temperature: float,
) -> Evidence:
    """What the log says of the candidate, over the sampled sets and with torch's logits."""
    logged = steps.collate(examples, [np.zeros(example.used) for example in examples])
    last_B1 = torch.tensor([[example.reach - 1] for example in examples])

    def of_prefix(log_p_BT: Tensor) -> NDArray[np.float64]:
        log_p_B: NDArray[np.float64] = (
            log_p_BT.double().cumsum(-1).gather(-1, last_B1)[:, 0].numpy()
        )
        return log_p_B

    def log_p(logits: Sequence[Tensor], temperature: float) -> NDArray[np.float64]:
        return of_prefix(step_log_prob(steps.padded(logits).double() / temperature, logged))

    matched = calibration.matched(
        [logits_N.double().numpy() for logits_N in candidate],
        like=[logits_N.double().numpy() for logits_N in champion],
        temperature_of_those=temperature,
    )
    return Evidence(
        log_candidate=log_p(candidate, matched),
        log_champion=log_p(champion, temperature),
        log_propensity=np.array([example.log_propensity for example in examples]),
        log_sampled=np.array([example.log_sampled for example in examples]),
        explored=np.array([example.decision.choice.explored for example in examples]),
        reward=np.array([example.reward for example in examples]),
        observed=np.array([example.weight for example in examples]),
        cluster=np.array([cluster(example.query_sha256) for example in examples]),
    )


def _key(example: Example) -> int:
    return example.decision.id.int
