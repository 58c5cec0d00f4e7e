from collections import Counter

import pytest
import torch

from trainer.ranks import ALONE, Ranks, RanksParted


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
