"""The arms: how each trains, and whether a gate asks before it serves."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trainer.learner import Capacity
from trainer.objective import Objective, Weights


class Judge(StrEnum):
    """Who says whether a candidate serves."""

    LOG = "log"
    """The gate, from the log alone."""
    REPLAY = "replay"
    """The gate, with the reader's answers to both orders of the gate questions."""
    NOBODY = "nobody"


_OURS: Final = Objective()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to learn from the log."""

    objective: Objective = _OURS
    kls: tuple[float, ...] = (0.02, 0.1)
    """As the demo has them."""
    capacities: tuple[Capacity, ...] = (Capacity.LAST_LAYER,)
    """Rungs on cached activations or rungs without: the cache is of the start's layers."""
    judge: Judge = Judge.LOG
    replays: bool = True
    """Whether a round learns from rewards that an earlier one has learned from."""
    unfused: bool = False
    """Whether it starts from the cross-encoder alone."""


_NO_CREDIT: Final = Objective(credit=False)
"""What others do: they do not ask which documents an answer was made of."""
_NAIVE: Final = Objective(weights=Weights.NONE, baseline=False, credit=False)
_NAIVE_BASELINE: Final = Objective(weights=Weights.NONE, credit=False)
_FULL_LIST: Final = Objective(weights=Weights.LIST, cap=float("inf"), credit=False)

ARMS: Final[dict[str, Arm]] = {
    "ours": Arm(),
    "ours-replay": Arm(judge=Judge.REPLAY),
    "ours-ungated": Arm(judge=Judge.NOBODY),
    "fusion-weights": Arm(capacities=(Capacity.FUSION,)),
    "fusion-weights-replay": Arm(capacities=(Capacity.FUSION,), judge=Judge.REPLAY),
    "fusion-weights-unfused": Arm(capacities=(Capacity.FUSION,), unfused=True),
    "lora": Arm(capacities=(Capacity.LORA,)),
    "everything": Arm(capacities=(Capacity.EVERYTHING,)),
    "naive": Arm(objective=_NAIVE, kls=(0.0,)),
    "naive-baseline": Arm(objective=_NAIVE_BASELINE, kls=(0.0,)),
    "full-list": Arm(objective=_FULL_LIST, kls=(0.0,)),
    "naive-ungated": Arm(objective=_NAIVE, kls=(0.0,), judge=Judge.NOBODY),
    "naive-baseline-ungated": Arm(objective=_NAIVE_BASELINE, kls=(0.0,), judge=Judge.NOBODY),
    "full-list-ungated": Arm(objective=_FULL_LIST, kls=(0.0,), judge=Judge.NOBODY),
    "no-credit": Arm(objective=_NO_CREDIT),
    "no-kl": Arm(kls=(0.0,)),
    "no-replay": Arm(replays=False),
    "no-cap": Arm(objective=Objective(cap=float("inf"))),
    "no-baseline": Arm(objective=Objective(baseline=False)),
    "ppo-clip": Arm(objective=Objective(ppo_clip=0.2)),
}
