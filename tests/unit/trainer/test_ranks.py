from collections import Counter

import numpy as np
import pytest
import torch

from tests import trainees
from trainer.activations import Activations
from trainer.ladder import Rung
from trainer.learner import Capacity, Learner, Listing
from trainer.objective import Objective
from trainer.ranks import ALONE, Ranks, RanksParted
from trainer.train import Task, _descend, _Lesson

TWO = [Ranks(rank=rank, size=2) for rank in range(2)]


def test_every_place_belongs_to_one_rank_and_to_the_same_one_in_any_order():
    ranks = [Ranks(rank=rank, size=3) for rank in range(3)]

    shares = [set(each.share(range(10))) for each in ranks]

    assert shares == [{0, 3, 6, 9}, {1, 4, 7}, {2, 5, 8}]
    assert ranks[1].share([8, 4, 0, 1]) == [4, 1]


def test_one_alone_has_everything_and_changes_nothing():
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()

    with ALONE.together("a task"):
        ALONE.sum_gradients([weight])
    ALONE.dismiss()

    assert ALONE.share(range(3)) == [0, 1, 2]
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0]
    assert ALONE.summed(Counter(a=2)) == Counter(a=2)
    assert ALONE.is_first


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    assert Ranks.joined() == ALONE


class OfTwo(Ranks):
    """One of two ranks whose other one is gone: what is sent fails."""

    def _send(self, task):
        if task == "nobody hears it":
            raise RuntimeError("Connection closed by peer")

    def _leave(self):
        pass


@pytest.mark.parametrize(
    ("task", "said"), [("nobody hears it", "closed by peer"), ("a task", "the disk is full")]
)
def test_of_several_ranks_one_that_fails_ends_them_all(task, said):
    with pytest.raises(RanksParted, match=said), OfTwo(size=2).together(task):
        raise OSError("the disk is full")


def test_what_fails_together_is_not_hidden():
    with pytest.raises(ValueError, match="broken"), ALONE.together("a task"):
        raise ValueError("broken")


@pytest.mark.parametrize("capacity", Capacity)
def test_the_gradients_of_two_ranks_sum_to_that_of_one(capacity):
    model = trainees.reranker()
    task = lesson(model, capacity)

    one, first, second = (gradient(model, task, ranks) for ranks in (ALONE, *TWO))

    largest = float(one.abs().max())
    assert largest > 1e-3
    assert torch.allclose(first + second, one, atol=1e-5 * largest)


def lesson(model, capacity):
    """Six decisions; who shows "new" first did well."""
    examples = trainees.log(model, reward=lambda shown: float("new" in shown[0]), decisions=6)
    return Task(
        champion="tiny",
        rung=Rung(capacity=capacity, lr=1e-3, epochs=1, kls=(0.1,), objective=Objective(), batch=6),
        examples=examples,
        advantages=[np.array([each.reward - 0.5]) for each in examples],
        temperature=1.0,
        seed=0,
    )


def gradient(model, task, ranks):
    """What a rank adds to the step of a batch of all examples, as one vector."""
    activations = Activations(model, trainees.tokenizer(), pad_id=0, max_bytes=1 << 20)
    needed = [Listing.of_example(each) for each in task.examples]
    with Learner.of(model, task.rung.capacity, activations, needed) as learner:
        own = _Lesson.of(task, learner, ranks=ranks)
        _descend(learner, own, range(len(task.examples)), kl=0.1)
        gradients = [
            torch.zeros(each.numel()) if each.grad is None else each.grad.flatten()
            for each in learner.parameters
        ]
        for each in learner.parameters:
            each.grad = None
    return torch.cat(gradients)
