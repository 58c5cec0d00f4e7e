from dataclasses import replace

import numpy as np
import pytest
import torch

from contract.records import Candidate
from tests import trainees
from trainer import rrpo
from trainer.activations import Activations
from trainer.learner import Capacity, Learner
from trainer.questions import Question
from trainer.rrpo import Lesson, Plan

PLAN = Plan(used=2, rounds=3, rollouts=4, epochs=2, lr=3e-3, clip=0.2, kl=0.02, batch=32, seed=0)


def questions(n, *, seed):
    """One of five documents says new."""
    rng = np.random.default_rng(seed)
    plain = [word for word in trainees.WORDS if word != "new"]
    found = []
    for _ in range(n):
        documents = [" ".join(rng.choice(plain, size=3)) for _ in range(5)]
        documents[int(rng.integers(5))] += " new"
        found.append(
            Question(
                text=" ".join(rng.choice(plain, size=3)),
                candidates=tuple(Candidate(text=text) for text in documents),
                answers=("new",),
                group="flat",
            )
        )
    return found


class Reader:
    """An answer is right where the document that says new is read, and half right where it is read second."""

    def __init__(self, worth=(1.0, 0.5)):
        self.worth = worth
        self.asked = []

    def __call__(self, asks, *, what):
        self.asked.append((what, [(question.text, shown) for question, shown in asks]))
        return [self._value(*ask) for ask in asks]

    def _value(self, question, shown):
        says = ["new" in text for text in question.documents(shown)]
        return self.worth[says.index(True)] if any(says) else 0.0


@pytest.fixture(scope="module")
def learnt():
    return taught(Reader())


def taught(reader, *, plan=PLAN, capacity=Capacity.LAST_LAYER):
    torch.set_num_threads(1)
    model = trainees.reranker()
    activations = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 24)
    lesson = Lesson(train=questions(80, seed=1), tune=questions(60, seed=2), temperature=0.5)
    listings = [each.listing for each in [*lesson.train, *lesson.tune]]
    said: list[str] = []
    with Learner.of(model, capacity, activations, listings) as learner:
        trained = rrpo.train(learner, lesson, plan, reads=reader, say=said.append)
    return trained, reader, said


def test_a_reader_teaches_which_documents_it_needs(learnt):
    trained, _, said = learnt

    assert trained.round > 0
    assert trained.tune[trained.round] == max(trained.tune)
    assert max(trained.tune) > trained.tune[0] + 0.2
    assert len(trained.tune) == len(said) + 1 == PLAN.rounds + 1


@pytest.mark.parametrize(("capacity", "lr"), [(Capacity.LORA, 1e-2), (Capacity.EVERYTHING, 3e-3)])
def test_it_teaches_larger_rungs_too(capacity, lr):
    trained, _, _ = taught(
        Reader(), plan=replace(PLAN, rounds=1, rollouts=2, lr=lr), capacity=capacity
    )

    assert trained.round == 1
    assert trained.tune[1] > trained.tune[0]
    assert any("layer.0" in name for name in trained.state)


def test_every_prefix_of_every_ranking_is_read(learnt):
    _, reader, _ = learnt
    whats, asks = zip(*reader.asked, strict=True)

    # The reference's greedy orders come first, then the tune questions, then rounds and tune questions in turn.
    assert whats[:4] == ("the reference", "before", "round 1", "after round 1")
    assert len(asks[0]) == 80 * PLAN.used
    assert len(asks[1]) == 60
    assert len(asks[2]) == 80 * PLAN.rollouts * PLAN.used
    assert {len(shown) for _, shown in asks[2]} == {1, 2}
    assert {len(shown) for _, shown in asks[1]} == {2}


def test_a_second_run_asks_the_same_and_learns_the_same(learnt):
    again, reader, _ = taught(Reader())

    assert reader.asked == learnt[1].asked
    for name, weights in learnt[0].state.items():
        assert torch.equal(again.state[name], weights)


def test_where_nothing_is_better_than_the_reference_no_weights_are_chosen():
    trained, _, _ = taught(Reader(worth=(0.5, 0.5)), plan=replace(PLAN, rounds=1, lr=0.0))

    # No step was taken, and a tie is no gain.
    assert trained.tune[0] == trained.tune[1]
    assert trained.round == 0
