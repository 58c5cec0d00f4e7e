import pytest

from tests import workbench
from trainer.ladder import ladder, rung
from trainer.learner import Capacity
from trainer.settings import TrainerSettings

DEFAULTS = TrainerSettings.model_construct()


def test_by_default_the_two_smallest_rungs_are_climbed_on_however_little():
    climbed = ladder(DEFAULTS)

    assert [(each.capacity, each.lr, each.epochs, each.min_rewards) for each in climbed] == [
        (Capacity.FUSION, 1e-2, 4, 0),
        (Capacity.LAST_LAYER, 1e-3, 3, 0),
    ]


def test_the_small_rungs_replay_old_rewards_and_the_large_ones_none():
    replays = {each: rung(each, DEFAULTS).replay for each in Capacity}

    assert replays == {
        Capacity.FUSION: DEFAULTS.trainer_replay,
        Capacity.LAST_LAYER: 2_000,
        Capacity.LORA: 0,
        Capacity.EVERYTHING: 0,
    }


def test_the_larger_ones_are_climbed_where_they_are_named_smallest_first(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKLOOP_TRAINER_LORA_RANK", "4")
    settings = workbench.settings(
        "postgresql://nowhere",
        "redis://nowhere",
        tmp_path,
        trainer_capacities=["everything", "lora"],
        trainer_lora_min_rewards=300,
    )

    climbed = ladder(settings)

    assert [(each.capacity, each.lr, each.epochs, each.min_rewards) for each in climbed] == [
        (Capacity.LORA, 3e-4, 2, 300),
        (Capacity.EVERYTHING, 2e-5, 2, 5_000),
    ]
    assert climbed[0].rank == 4


@pytest.mark.parametrize("capacity", Capacity)
def test_there_is_a_rung_for_each_capacity_whether_it_is_climbed_or_not(capacity):
    assert rung(capacity, DEFAULTS).capacity is capacity
