"""Rankings drawn from a policy, what each of their prefixes is worth to a reader, and which steps did well.

    r_t      what the answer from the first t documents is worth
    V_t      sum_{l >= t} r_l of the reference's greedy order, V_{T+1} = 0
    delta_t  = r_t + V_{t+1} - V_t
    A_t      = sum_{l >= t} delta_l        gamma and lambda are 1

The baseline knows the question and the step and not what was drawn, so it takes out variance and adds no bias: a step
did well where what follows is worth more than what the reference would have made of the rest.
Source: RRPO, arXiv:2604.02091; generalised advantages: Schulman et al. (2016), arXiv:1506.02438.

Shapes: R rollouts, N candidates, T steps; padding last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from contract import plackett_luce
from contract.plackett_luce import Positions
from contract.policy import Policy, choose
from trainer.objective import Steps

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One ranking of one question's candidates, as far as it is used."""

    question: int
    """Its place among the questions."""
    n: int
    """How many candidates there were."""
    shown: Positions
    """(T,)."""
    log_propensity: Floats
    """(T,) nats of each step under the policy that drew it."""


def draw(
    question: int, logits: Floats, *, temperature: float, used: int, rng: np.random.Generator
) -> Rollout:
    """One Plackett-Luce ranking of all candidates, cut after `used`.

    logits: (n,).
    """
    policy = Policy(epsilon=1.0, temperature=temperature, sampled=len(logits))
    choice = choose(logits, policy, rng, top_n=used)
    return Rollout(
        question=question,
        n=len(logits),
        shown=choice.shown,
        log_propensity=np.diff(choice.cum_log_propensity, prepend=0.0),
    )


def greedy(logits: Floats, *, used: int) -> Positions:
    """(T,) what would be served."""
    return plackett_luce.greedy(logits)[:used]


def prefixes(shown: Positions) -> list[tuple[int, ...]]:
    """The first document, the first two, and so on."""
    return [tuple(shown[:t].tolist()) for t in range(1, len(shown) + 1)]


def advantages(rewards: Floats, reference: Floats) -> Floats:
    """How much better than the reference's greedy order each step did.

    rewards, reference: (T,) of the prefixes.  Returns (T,).
    """
    expected = np.append(_to_come(reference), 0.0)
    return _to_come(rewards + expected[1:] - expected[:-1])


def collate(rollouts: Sequence[Rollout], earned: Iterable[Floats]) -> Steps:
    """One batch.

    earned: (T,) the advantages of each.
    """
    steps = max(len(rollout.shown) for rollout in rollouts)
    shape = (len(rollouts), steps)
    shown, log_propensity = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32)
    advantage, free = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    remaining = np.zeros((*shape, max(rollout.n for rollout in rollouts)), dtype=bool)
    for row, (rollout, own) in enumerate(zip(rollouts, earned, strict=True)):
        k = len(rollout.shown)
        shown[row, :k], free[row, :k] = rollout.shown, True
        log_propensity[row, :k], advantage[row, :k] = rollout.log_propensity, own
        remaining[row, :k, : rollout.n] = True
        for step, position in enumerate(rollout.shown):
            remaining[row, step + 1 : k, position] = False
    return Steps(
        shown_BT=torch.from_numpy(shown),
        remaining_BTN=torch.from_numpy(remaining),
        free_BT=torch.from_numpy(free),
        log_propensity_BT=torch.from_numpy(log_propensity),
        advantage_BT=torch.from_numpy(advantage),
    )


def _to_come(values: Floats) -> Floats:
    """(T,) the sum from each step on."""
    return np.cumsum(values[::-1])[::-1]
