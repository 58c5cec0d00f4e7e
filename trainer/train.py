"""The ladder of capacity: the fusion weights over everything since the base, the last layer over what is new.

Each rung starts from the champion's weights, tries each weight of the divergence, and stops after the epoch that the
tune queries like best. A rung that they like better than the champion makes a candidate; the gate chooses.

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

from contract.policy import log_prob_sampled
from trainer import calibration, steps
from trainer.activations import Activations
from trainer.estimators import MIN_SHARE, Estimate, Evidence, delta_beta_ips, effective_share
from trainer.examples import Example
from trainer.learner import Capacity, Learner
from trainer.model import Reranker
from trainer.objective import reinforce, step_log_prob
from trainer.settings import TrainerSettings
from trainer.splits import Split, cluster

MAX_GRADIENT: Final = 1.0
WARM_UP_STEPS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """How one capacity is trained."""

    capacity: Capacity
    lr: float
    epochs: int
    kls: tuple[float, ...]
    cap: float
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A candidate that the tune queries like better than the champion."""

    capacity: Capacity
    kl: float
    epoch: int
    """How many were best."""
    state: Mapping[str, Tensor]
    """The changed weights, by name."""
    tune: Estimate
    """Its gain over the champion on the tune queries: chosen as the best of several, hence too good."""
    effective_share: float
    """Of the explored answers about the tune queries: under .2 no log can judge it."""
    clipped: Mapping[str, float]
    """Share of free steps whose ratio was cut in the last epoch, for each arm and kind of answer."""

    @property
    def can_be_judged(self) -> bool:
        """Whether the gate would look at its gain at all."""
        return self.effective_share >= MIN_SHARE


def ladder(settings: TrainerSettings) -> tuple[Rung, ...]:
    """Smallest first."""

    def rung(capacity: Capacity, *, lr: float, epochs: int) -> Rung:
        return Rung(
            capacity=capacity,
            lr=lr,
            epochs=epochs,
            kls=settings.trainer_kl,
            cap=settings.trainer_cap,
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
    temperature: float,
    seed: int,
) -> Iterator[Trained]:
    """The candidates of a round; the champion's weights are what they were when this ends.

    temperature: the champion's, by which all logits are divided.
    """
    advantage = dict(zip(map(_key, split.train), steps.advantages(split.train), strict=True))
    tune = [each for each in split.tune if each.fresh]  # the gate looks at no others
    for rung in rungs:
        train = [each for each in split.train if each.fresh or rung.capacity is Capacity.FUSION]
        if not train or not tune:
            continue
        with Learner.of(champion, rung.capacity, activations, [*train, *tune]) as learner:
            lesson = _Lesson.of(train, advantage, learner, temperature=temperature)
            chosen = best(_attempts(learner, lesson, tune, rung=rung, seed=seed))
        if chosen.tune.value > 0 and chosen.can_be_judged:
            yield chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """Examples with what the champion thinks of them."""

    examples: Sequence[Example]
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
        return cls(
            examples=examples,
            advantages=[advantages[_key(example)] for example in examples],
            champion=learner.scored(examples),
            temperature=temperature,
        )


def _attempts(
    learner: Learner, lesson: _Lesson, tune: Sequence[Example], *, rung: Rung, seed: int
) -> Iterator[Trained]:
    """One for each weight of the divergence and each epoch."""
    champion = learner.scored(tune)
    for kl in rung.kls:
        learner.reset()
        for epoch, clipped in enumerate(_epochs(learner, lesson, rung=rung, kl=kl, seed=seed), 1):
            evidence = _evidence(
                tune, learner.scored(tune), champion, temperature=lesson.temperature
            )
            yield Trained(
                capacity=rung.capacity,
                kl=kl,
                epoch=epoch,
                state=learner.state(),
                tune=delta_beta_ips(evidence),
                effective_share=effective_share(evidence),
                clipped=clipped,
            )


def best(attempts: Iterable[Trained]) -> Trained:
    """The one that gains most of those that the gate can judge; where it can judge none, the nearest."""

    def worth(attempt: Trained) -> tuple[bool, float]:
        judged = attempt.can_be_judged
        return judged, attempt.tune.value if judged else attempt.effective_share

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
        steps.padded(learner.scores(examples)) / lesson.temperature,
        logged,
        champion_BN=steps.padded([lesson.champion[at] for at in chosen]) / lesson.temperature,
        cap=rung.cap,
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
        log_propensity=of_prefix(logged.log_propensity_BT),
        log_sampled=np.array([_log_sampled(example) for example in examples]),
        explored=np.array([example.decision.choice.explored for example in examples]),
        reward=np.array([example.reward for example in examples]),
        cluster=np.array([cluster(example.query_sha256) for example in examples]),
    )


def _log_sampled(example: Example) -> float:
    decision = example.decision
    prefix = decision.choice.shown[: example.reach]
    return float(log_prob_sampled(decision.logits, prefix, decision.policy)[-1])


def _key(example: Example) -> int:
    return example.decision.id.int
