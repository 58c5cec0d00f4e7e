"""A reranker taught by the reader itself: rankings are drawn, read, and learned from, round after round.

Each round draws rankings of every training question from the weights of now, has each of their prefixes read, and
takes some epochs of steps with PPO's clipped ratio and an exact KL to the reference. After each round the tune
questions are answered from the greedy order; the weights that did best go on to the gate, and where no round did better
than the reference none do. Deterministic: run again, it asks the reader the same.
Sources: RRPO, arXiv:2604.02091; Schulman et al. (2017), arXiv:1707.06347.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer import rollouts, steps
from trainer.learner import Learner
from trainer.objective import Objective, reinforce
from trainer.questions import Question
from trainer.rollouts import Rollout
from trainer.train import MAX_GRADIENT, schedule

Floats = NDArray[np.float64]
Ask: TypeAlias = tuple[Question, tuple[int, ...]]
"""A question, and positions of its candidates in the order in which they are read."""


class Reads(Protocol):
    """Somebody who knows what answers are worth."""

    def __call__(self, asks: Sequence[Ask], *, what: str) -> list[float]:
        """In [0, 1], one for each; a repeated ask costs nothing.

        what: the occasion, for whoever watches.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to learn."""

    used: int
    """T: documents of a prompt."""
    rounds: int
    rollouts: int
    """Rankings of each question in a round."""
    epochs: int
    """Passes over the rankings of a round."""
    lr: float
    clip: float
    """How far from 1 a ratio may be before its gradient stops."""
    kl: float
    batch: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is learned from and what chooses, with what the reference thinks of the former."""

    train: Sequence[Question]
    tune: Sequence[Question]
    temperature: float
    """The reference's: all logits are divided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The best weights, and how the tune questions liked those of each round."""

    state: Mapping[str, Tensor]
    """The changed weights, by name."""
    round: int
    """0 is the reference."""
    tune: tuple[float, ...]
    """Mean value of the answers, of the reference and after each round."""


def train(
    learner: Learner, lesson: Lesson, plan: Plan, *, reads: Reads, say: Callable[[str], object]
) -> Trained:
    """The learner's weights are the last round's when this ends."""
    pupil = _Pupil.of(learner, lesson, plan, reads)
    liked, best, state = [pupil.examined("before")], 0, learner.state()
    for number in range(1, plan.rounds + 1):
        pupil.practise(number)
        liked.append(pupil.examined(f"after round {number}"))
        if liked[-1] > liked[best]:
            best, state = number, learner.state()
        say(f"round {number} of {plan.rounds}: tune questions {liked[0]:.4f} -> {liked[-1]:.4f}")
    return Trained(state=state, round=best, tune=tuple(liked))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pupil:
    learner: Learner
    lesson: Lesson
    plan: Plan
    reads: Reads
    reference: Sequence[Tensor]
    """The reference's logits of the training questions."""
    expected: Sequence[Floats]
    """(T,) for each: what the prefixes of the reference's greedy order are worth."""
    optimizer: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator

    @classmethod
    def of(cls, learner: Learner, lesson: Lesson, plan: Plan, reads: Reads) -> "_Pupil":
        reference = learner.scored([question.listing for question in lesson.train])
        orders = [rollouts.greedy(_double(logits), used=plan.used) for logits in reference]
        optimizer = torch.optim.AdamW(learner.parameters, lr=plan.lr)
        batches = ceil(len(lesson.train) * plan.rollouts / plan.batch)
        return cls(
            learner=learner,
            lesson=lesson,
            plan=plan,
            reads=reads,
            reference=reference,
            expected=_worth(lesson.train, enumerate(orders), reads=reads, what="the reference"),
            optimizer=optimizer,
            rate=schedule(optimizer, steps=plan.rounds * plan.epochs * batches),
            rng=np.random.default_rng(plan.seed),
        )

    def practise(self, number: int) -> None:
        drawn = list(self._drawn())
        rewards = _worth(
            self.lesson.train,
            ((each.question, each.shown) for each in drawn),
            reads=self.reads,
            what=f"round {number}",
        )
        earned = [
            rollouts.advantages(own, self.expected[each.question])
            for each, own in zip(drawn, rewards, strict=True)
        ]
        for _ in range(self.plan.epochs):
            order = self.rng.permutation(len(drawn))
            for start in range(0, len(order), self.plan.batch):
                chosen = order[start : start + self.plan.batch]
                self._update([drawn[at] for at in chosen], [earned[at] for at in chosen])

    def examined(self, what: str) -> float:
        """What the tune questions' answers are worth on average, from the greedy order."""
        tune = self.lesson.tune
        logits = self.learner.scored([question.listing for question in tune])
        asks = [
            (question, tuple(rollouts.greedy(_double(own), used=self.plan.used).tolist()))
            for question, own in zip(tune, logits, strict=True)
        ]
        return float(np.mean(self.reads(asks, what=what)))

    def _drawn(self) -> Iterator[Rollout]:
        logits = self.learner.scored([question.listing for question in self.lesson.train])
        for place, own in enumerate(logits):
            for _ in range(self.plan.rollouts):
                yield rollouts.draw(
                    place,
                    _double(own),
                    temperature=self.lesson.temperature,
                    used=self.plan.used,
                    rng=self.rng,
                )

    def _update(self, drawn: Sequence[Rollout], earned: Sequence[Floats]) -> None:
        def loss(part: Sequence[int]) -> Tensor:
            rankings = [drawn[at] for at in part]
            listings = [self.lesson.train[each.question].listing for each in rankings]
            reference = [self.reference[each.question] for each in rankings]
            return reinforce(
                steps.padded(self.learner.scores(listings)) / self.lesson.temperature,
                rollouts.collate(rankings, [earned[at] for at in part]),
                champion_BN=steps.padded(reference) / self.lesson.temperature,
                objective=Objective(ppo_clip=self.plan.clip),
                kl=self.plan.kl,
            ).total

        self.optimizer.zero_grad()
        self.learner.descend(range(len(drawn)), loss)
        nn.utils.clip_grad_norm_(self.learner.parameters, MAX_GRADIENT)
        self.optimizer.step()
        self.rate.step()


def _worth(
    asked: Sequence[Question],
    orders: Iterable[tuple[int, NDArray[np.int64]]],
    *,
    reads: Reads,
    what: str,
) -> list[Floats]:
    """(T,) for each order: what its prefixes are worth, all of them asked at once.

    orders: the place of a question, and positions of its candidates.
    """
    asks = [
        [(asked[place], prefix) for prefix in rollouts.prefixes(shown)] for place, shown in orders
    ]
    values = iter(reads([ask for own in asks for ask in own], what=what))
    return [np.array([next(values) for _ in own]) for own in asks]


def _double(logits: Tensor) -> Floats:
    values: Floats = logits.double().numpy()
    return values
