"""What the arms are compared with: rules that learn nothing, and supervised training of the same weights."""

from collections.abc import Callable, Sequence
from math import ceil
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

    Learned listwise from the rewards: - sum_i (r_i / sum r) log softmax(logits)_i.
    """
    rng = np.random.default_rng([seed, 2])
    order = rng.permutation(len(world.train))
    per_question = len(world.train[0].candidates)
    asked = [world.train[at] for at in order[: events // per_question]]
    labels = [_labels(world, each, rng) for each in asked]
    kept = [at for at, row in enumerate(labels) if row.sum() > 0]
    listings = [Listing.of(asked[at].query, asked[at].candidates) for at in kept]
    targets = [torch.tensor(labels[at] / labels[at].sum(), dtype=torch.float32) for at in kept]

    def loss(logits: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        return -torch.stack(
            [
                (targets[at] * one.log_softmax(0)).sum()
                for one, at in zip(logits, chosen, strict=True)
            ]
        ).mean()

    return _taught(
        studio, listings, lambda learner: _fit(learner, listings, loss, events=events, seed=seed)
    )


def judged_top(world: World, studio: Studio, *, events: int, seed: int) -> Snapshot:
    """Labels from greedy serving: the document that each answer was made of, good or bad as the judge says.

    Learned pointwise, by binary cross-entropy on the document's logit.
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
    listings = [Listing.of(question.query, question.candidates) for question, _, _ in pairs]

    def loss(logits: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        said = torch.stack([one[pairs[at][1]] for one, at in zip(logits, chosen, strict=True)])
        truth = torch.tensor([pairs[at][2] for at in chosen], dtype=torch.float32)
        return nn.functional.binary_cross_entropy_with_logits(said, truth)

    return _taught(
        studio, listings, lambda learner: _fit(learner, listings, loss, events=events, seed=seed)
    )


def rrpo_reader(world: World, studio: Studio, *, events: int, seed: int) -> Snapshot:
    """RRPO with the reader at hand: it is asked about every ranking that is drawn, and answers without noise.

    Its calls are the rankings times what they use: as many as the other arms have events.
    """
    asked = [
        questions.Question(text=each.query, candidates=each.candidates, answers=())
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


def _labels(world: World, question: Question, rng: np.random.Generator) -> Floats:
    """(n,) of each candidate alone; 0 where nothing was said."""
    return np.array(
        [
            world.noise.seen(world.outcome(question, [at]).reward, rng) or 0.0
            for at in range(len(question.candidates))
        ]
    )


def _taught(
    studio: Studio, listings: Sequence[Listing], teach: Callable[[Learner], State]
) -> Snapshot:
    (rung,) = rungs(Arm())
    with Learner.of(studio.reranker, rung.capacity, studio.activations, listings) as learner:
        state = teach(learner)
    return studio.snapshot("taught", state)


def _fit(
    learner: Learner,
    listings: Sequence[Listing],
    loss: Callable[[Sequence[Tensor], Sequence[int]], Tensor],
    *,
    events: int,
    seed: int,
) -> State:
    """With the optimiser, rate, batch and epochs of a round of so many events."""
    (rung,) = rungs(Arm())
    optimizer = torch.optim.AdamW(learner.parameters, lr=rung.lr)
    rate = schedule(optimizer, steps=rung.epochs * ceil(events / rung.batch))
    rng = np.random.default_rng(seed)
    for _ in range(rung.epochs * ceil(events / rung.batch)):
        chosen = rng.integers(len(listings), size=rung.batch).tolist()
        optimizer.zero_grad()
        torch.autograd.backward(loss(learner.scores([listings[at] for at in chosen]), chosen))
        nn.utils.clip_grad_norm_(learner.parameters, MAX_GRADIENT)
        optimizer.step()
        rate.step()
    return learner.state()
