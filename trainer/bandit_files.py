"""A line's rewarded decisions as the `bandit_feedback` of the Open Bandit Pipeline (obp), in one .npz file.

That library knows a fixed number of actions and takes one in a round. What fits is the first place: an action is the
rank, in the order of the model that answered, of the candidate that was shown first. How likely each was under the
mixture of greedy and sampled answers is known, and each that takes part in a sample could have been it. The reward is
that of the whole answer: what is estimated is a policy for the first place, with the rest of the list drawn as it was.

Shapes: I decisions, A ranks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import plackett_luce
from contract.policy import log_prob_sampled
from trainer.examples import Example
from trainer.log_files import About


class BanditWriter:
    """Arrays on disk that are filled decision by decision: none is ever whole in memory."""

    def __init__(self, path: Path, folder: Path, *, decisions: int, sampled: int) -> None:
        """folder: where the arrays lie meanwhile.  decisions, sampled: at most."""
        self._path = path
        self._actions = max(sampled, 1)
        self._rounds = 0
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "context": (np.float64, (1 + 2 * self._actions,)),
            "action": (np.int64, ()),
            "reward": (np.float64, ()),
            "pscore": (np.float64, ()),
            "pi_b": (np.float64, (self._actions, 1)),
            "weight": (np.float64, ()),
        }
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.lib.format.open_memmap(
                folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(decisions, *shape)
            )
            for name, (dtype, shape) in shapes.items()
        }

    def add(self, chunk: Sequence[Example]) -> None:
        for at, example in enumerate(chunk, self._rounds):
            for name, value in _round(example, actions=self._actions).items():
                self._arrays[name][at] = value
        self._rounds += len(chunk)

    def finish(self, about: About) -> None:
        arrays: dict[str, Any] = {
            "n_rounds": np.int64(self._rounds),
            "n_actions": np.int64(self._actions),
            "action_context": np.eye(self._actions),
            "position": np.zeros(self._rounds, dtype=np.int64),
            "about": np.array(about.to_json()),
        } | {name: array[: self._rounds] for name, array in self._arrays.items()}
        with self._path.open("wb") as file:
            np.savez_compressed(file, **arrays)


def _round(example: Example, *, actions: int) -> dict[str, Any]:
    """One decision's place in each array.

    context, (1 + 2 A,): how many candidates there were; of each rank how likely a sample begins with it; of each rank
    1 / the place that the first stage gave it. 0 where there is no such rank.
    """
    decision = example.decision
    logits, policy = decision.logits, decision.policy
    order = plackett_luce.greedy(logits)
    ranked = order[: max(policy.sampled, 1)]
    drawn, places = np.zeros(actions), np.zeros(actions)
    for rank, position in enumerate(ranked):
        drawn[rank] = np.exp(log_prob_sampled(logits, ranked[[rank]], policy)[0])
        places[rank] = 1 / (1 + position)
    shown = policy.epsilon * drawn
    shown[0] += 1 - policy.epsilon
    return {
        "context": np.concatenate([[len(order)], drawn, places]),
        "action": int(np.flatnonzero(order == decision.choice.shown[0])[0]),
        "reward": example.reward,
        "pscore": np.exp(decision.choice.cum_log_propensity[0]),
        "pi_b": shown[:, None],
        "weight": example.weight,
    }
