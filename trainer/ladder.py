"""The ladder of capacity, smallest first: what each rung trains, how, and from how many rewards on."""

from dataclasses import dataclass

from trainer.adapters import RANK
from trainer.learner import Capacity
from trainer.objective import Objective
from trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """How one capacity is trained."""

    capacity: Capacity
    lr: float
    epochs: int
    kls: tuple[float, ...]
    objective: Objective
    batch: int
    rank: int = RANK
    """Of adapters, where it trains them."""
    replay: int = 0
    """It learns from older rewards too, the newest of them, until there are so many with the fresh ones."""
    min_rewards: int = 0
    """It is not tried on fewer."""


def ladder(settings: TrainerSettings) -> tuple[Rung, ...]:
    """The rungs that are climbed."""
    return tuple(rung(each, settings) for each in Capacity if each in settings.trainer_capacities)


def rung(capacity: Capacity, settings: TrainerSettings) -> Rung:
    """This one, climbed or not."""
    lr, epochs, replay, min_rewards = {
        Capacity.FUSION: (
            settings.trainer_fusion_lr,
            settings.trainer_fusion_epochs,
            settings.trainer_replay,
            0,
        ),
        Capacity.LAST_LAYER: (
            settings.trainer_last_layer_lr,
            settings.trainer_last_layer_epochs,
            settings.trainer_last_layer_replay,
            0,
        ),
        Capacity.LORA: (
            settings.trainer_lora_lr,
            settings.trainer_lora_epochs,
            0,
            settings.trainer_lora_min_rewards,
        ),
        Capacity.EVERYTHING: (
            settings.trainer_everything_lr,
            settings.trainer_everything_epochs,
            0,
            settings.trainer_everything_min_rewards,
        ),
    }[capacity]
    return Rung(
        capacity=capacity,
        lr=lr,
        epochs=epochs,
        kls=settings.trainer_kl,
        objective=settings.objective,
        batch=settings.trainer_batch,
        rank=settings.trainer_lora_rank,
        replay=replay,
        min_rewards=min_rewards,
    )
