"""What the arms are compared with: rules that learn nothing, and supervised training of the same weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from operator import itemgetter
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from bench.learning.arms import Arm
from bench.learning.loop import rungs
from bench.learning.studio import Snapshot, State, Studio
from bench.learning.worlds import Floats, Question, World
from trainer import questions, rrpo, supervised
from trainer.learner import Learner, Listing
from trainer.rrpo import Ask, Lesson, Plan
from trainer.train import MAX_GRADIENT, schedule

PPO_CLIP: Final = 0.2
PPO_KL: Final = 0.1
"""The defaults of `rankloop train`."""
TUNE: Final = 5
"""One in so many chooses when to stop."""
CHECKS: Final = 8
RULES: Final = ("frozen", "first-stage", "gold-first", "oracle")


def rule(name: str, world: World, studio: Studio) -> list[list[int]]:
    """Orders of the held-out questions."""
    made: dict[str, Callable[[], list[list[int]]]] = {
        "frozen": lambda: [order.tolist() for order in studio.start.orders(world.held_out)],
        "first-stage": lambda: [list(range(len(each.candidates))) for each in world.held_out],
        "gold-first": lambda: [_gold_first(each) for each in world.held_out],
        "oracle": lambda: [world.best(each) for each in world.held_out],
    }
    return made[name]()


def _gold_first(question: Question) -> list[int]:
    """What perfect relevance labels would give; the first stage's order among equals."""
    return sorted(range(len(question.candidates)), key=lambda at: at not in question.gold)


def gold_labels(world: World, studio: Studio, *, events: int, seed: int) -> Snapshot:
    """The ceiling: the same trainable weights and budget, every event with its gold label and no noise."""
    labelled = [
        supervised.Question(query=each.query, candidates=each.candidates, gold=tuple(each.gold))
        for each in world.train
    ]

    def teach(learner: Learner) -> State:
        supervised.teach(learner, labelled, rung=rungs(Arm())[0], events=events, seed=seed)
        return learner.state()

    return _taught(studio, [each.listing for each in labelled], teach)


def judged_all(world: World, studio: Studio, *, events: int, seed: int) -> Snapshot:
    """A team's other way to spend the calls: every candidate of as few questions as they pay for, answered and judged.

    Learned listwise from the verdicts that came: - sum_i (r_i / sum r) log softmax(logits)_i over those candidates. Of
    the questions a fifth chooses when to stop, by what was said of the candidate that comes first; the start is a
    choice too.
    """
    rng = np.random.default_rng([seed, 2])
    order = rng.permutation(len(world.train))
    per_question = len(world.train[0].candidates)
    verdicts = [_verdicts(world, world.train[at], rng) for at in order[: events // per_question]]
    told = [each for each in verdicts if each.labels.sum() > 0]
    tuning = len(told) // TUNE
    tune, train = told[:tuning], told[tuning:]

    def loss(logits: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        def one(said: Tensor, verdict: _Verdicts) -> Tensor:
            target = torch.from_numpy(verdict.labels / verdict.labels.sum()).float()
            return -(target * said[verdict.positions].log_softmax(0)).sum()

        return torch.stack(
            [one(said, train[at]) for said, at in zip(logits, chosen, strict=True)]
        ).mean()

    def score(logits: Sequence[Tensor]) -> float:
        return float(
            np.mean(
                [
                    verdict.labels[int(said[verdict.positions].argmax())]
                    for said, verdict in zip(logits, tune, strict=True)
                ]
            )
        )

    return _fitted(
        studio,
        Lists(train=[each.listing for each in train], tune=[each.listing for each in tune]),
        loss=loss,
        score=score,
        events=events,
        seed=seed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdicts:
    """What was said of a question's candidates, each read alone."""

    listing: Listing
    positions: list[int]
    """Of those that anything was said of."""
    labels: Floats
    """What was said of each."""


def _verdicts(world: World, question: Question, rng: np.random.Generator) -> _Verdicts:
    said = [
        world.noise.seen(world.outcome(question, [at]).reward, rng)
        for at in range(len(question.candidates))
    ]
    return _Verdicts(
        listing=Listing.of(question.query, question.candidates),
        positions=[at for at, label in enumerate(said) if label is not None],
        labels=np.array([label for label in said if label is not None]),
    )


def judged_top(world: World, studio: Studio, *, events: int, seed: int) -> Snapshot:
    """Labels from greedy serving: the document that each answer was made of, good or bad as the judge says.

    Learned pointwise, by binary cross-entropy on the document's logit; a fifth chooses when to stop, by the same.
    """
    rng = np.random.default_rng([seed, 3])
    drawn = rng.integers(len(world.train), size=events)
    orders = studio.start.orders(world.train)
    pairs = []
    for at in drawn.tolist():
        outcome = world.outcome(world.train[at], orders[at].tolist())
        label = world.noise.seen(outcome.reward, rng)
        if label is not None and outcome.cited is not None:
            pairs.append((world.train[at], outcome.cited, label))
    tuning = len(pairs) // TUNE

    def loss(logits: Sequence[Tensor], of: Sequence[tuple[Question, int, float]]) -> Tensor:
        said = torch.stack([one[cited] for one, (_, cited, _) in zip(logits, of, strict=True)])
        truth = torch.tensor([label for _, _, label in of], dtype=torch.float32)
        return nn.functional.binary_cross_entropy_with_logits(said, truth)

    listings = [Listing.of(question.query, question.candidates) for question, _, _ in pairs]
    return _fitted(
        studio,
        Lists(train=listings[tuning:], tune=listings[:tuning]),
        loss=lambda logits, chosen: loss(logits, [pairs[tuning + at] for at in chosen]),
        score=lambda logits: -float(loss(logits, pairs[:tuning])),
        events=events,
        seed=seed,
    )


def rrpo_reader(world: World, studio: Studio, *, events: int, seed: int) -> Snapshot:
    """RRPO with the reader at hand: it is asked about every ranking that is drawn, and answers without noise.

    Its calls are the rankings times what they use: as many as the other arms have events.
    """
    asked = [
        questions.Question(
            text=each.query, candidates=each.candidates, answers=(), group=each.cluster
        )
        for each in world.train
    ]
    order = np.random.default_rng([seed, 6]).permutation(len(asked)).tolist()
    tuning = len(asked) // 10
    sides = [asked[at] for at in order]
    rung = rungs(Arm())[0]
    lesson = Lesson(train=sides[tuning:], tune=sides[:tuning], temperature=studio.start.temperature)
    plan = Plan(
        used=world.used,
        rounds=max(1, round(events / (len(lesson.train) * world.used))),
        rollouts=1,
        epochs=rung.epochs,
        lr=rung.lr,
        clip=PPO_CLIP,
        kl=PPO_KL,
        batch=rung.batch,
        seed=seed,
    )

    def reads(asks: Sequence[Ask], *, what: str) -> list[float]:  # noqa: ARG001 -- nobody watches
        return [world.read(question.text, question.documents(shown)) for question, shown in asks]

    return _taught(
        studio,
        [each.listing for each in asked],
        lambda learner: rrpo.train(learner, lesson, plan, reads=reads, say=lambda _: None).state,
    )


def _taught(
    studio: Studio, listings: Sequence[Listing], teach: Callable[[Learner], State]
) -> Snapshot:
    (rung,) = rungs(Arm())
    with Learner.of(studio.reranker, rung.capacity, studio.activations, listings) as learner:
        state = teach(learner)
    return studio.snapshot("taught", state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """What is learned from, and what chooses when to stop."""

    train: Sequence[Listing]
    tune: Sequence[Listing]


def _fitted(
    studio: Studio,
    lists: Lists,
    *,
    loss: Callable[[Sequence[Tensor], Sequence[int]], Tensor],
    score: Callable[[Sequence[Tensor]], float],
    events: int,
    seed: int,
) -> Snapshot:
    """The best of several looks, with the optimiser, rate, batch and epochs of a round of so many events."""
    (rung,) = rungs(Arm())
    steps = rung.epochs * ceil(events / rung.batch)
    rng = np.random.default_rng(seed)

    def teach(learner: Learner) -> State:
        optimizer = torch.optim.AdamW(learner.parameters, lr=rung.lr)
        rate = schedule(optimizer, steps=steps)
        best = score(learner.scored(lists.tune)), learner.state()
        for step in range(1, steps + 1):
            chosen = rng.integers(len(lists.train), size=rung.batch).tolist()
            optimizer.zero_grad()
            torch.autograd.backward(
                loss(learner.scores([lists.train[at] for at in chosen]), chosen)
            )
            nn.utils.clip_grad_norm_(learner.parameters, MAX_GRADIENT)
            optimizer.step()
            rate.step()
            if step % max(1, steps // CHECKS) == 0:
                best = max(
                    best, (score(learner.scored(lists.tune)), learner.state()), key=itemgetter(0)
                )
        return best[1]

    return _taught(studio, [*lists.train, *lists.tune], teach)
