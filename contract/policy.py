"""The serving rule: mostly greedy, sometimes a Plackett-Luce sample, and exactly how likely it was.

Each request tosses one coin that knows nothing of its content. With probability epsilon the M best
candidates are sampled, else they are greedy; ranks beyond M never move. Under that mixture a prefix
has propensity

    beta(a_1..a_t) = (1 - epsilon) [a_1..a_t is the greedy prefix] + epsilon PL(a_1..a_t)

whichever way the coin fell.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract import plackett_luce
from contract.plackett_luce import Logits, Positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything but the logits that decides how likely a ranking was."""

    epsilon: float
    """Probability of sampling instead of serving the greedy order, in [0, 1]."""
    temperature: float
    """Logits are divided by it before sampling; it belongs to a model version and its precision."""
    sampled: int = 20
    """M: how many of the best candidates take part in a sample."""
    max_fall: int | None = None
    """How many ranks a candidate may lose by exploration; None does not bound it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was shown, and how likely each prefix of it was."""

    shown: Positions
    """(k,) request positions, best first."""
    cum_log_propensity: NDArray[np.float64]
    """(k,) nats: log-probability of each prefix under the mixture."""
    explored: bool
    """Whether the coin said sample; the sample may still equal the greedy order."""


def choose(logits: Logits, policy: Policy, rng: np.random.Generator, *, top_n: int) -> Choice:
    """Tosses the coin and ranks one request.

    logits: (n,) in request order, finite.  Returns the first min(top_n, n) positions.
    """
    order = plackett_luce.greedy(logits)
    explored = bool(rng.random() < policy.epsilon)
    if explored:
        best = order[: policy.sampled]
        ranks = plackett_luce.sample(
            logits[best] / policy.temperature, rng, max_fall=policy.max_fall
        )
        order = np.concatenate([best[ranks], order[policy.sampled :]])
    shown = order[:top_n]
    return Choice(
        shown=shown, cum_log_propensity=log_propensity(logits, shown, policy), explored=explored
    )


def log_propensity(logits: Logits, shown: Positions, policy: Policy) -> NDArray[np.float64]:
    """Log-probability of each prefix of `shown` under the mixture; -inf for what it never shows.

    logits: (n,) in request order.  shown: (k,) request positions.  Returns (k,).
    """
    log_sampled = log_prob_sampled(logits, shown, policy)
    is_greedy = np.cumprod(plackett_luce.greedy(logits)[: len(shown)] == shown)
    with np.errstate(divide="ignore"):
        log_greedy = np.log((1 - policy.epsilon) * is_greedy)
        log_explored = np.log(policy.epsilon) + log_sampled
        mixture: NDArray[np.float64] = np.logaddexp(log_greedy, log_explored)
    return mixture.clip(max=0.0)


def log_prob_sampled(
    logits: Logits, shown: Positions, policy: Policy, *, ranked_by: Logits | None = None
) -> NDArray[np.float64]:
    """The Plackett-Luce part: log-probability of each prefix, given that the coin said sample.

    logits: (n,) in request order.  shown: (k,) request positions.  Returns (k,).
    ranked_by: (n,) what decides which candidates take part and how far each may fall, if not `logits`:
    another model is compared over the set, and under the bound, of the one that was logged.
    """
    order = plackett_luce.greedy(logits if ranked_by is None else ranked_by)
    ranks = np.argsort(order)[shown]
    best = order[: policy.sampled]
    moved = ranks[: policy.sampled]
    stays = np.where(ranks[policy.sampled :] == np.arange(policy.sampled, len(shown)), 0.0, -np.inf)
    if (moved >= len(best)).any():
        step = int(np.argmax(moved >= len(best)))
        before = log_prob_sampled(logits, shown[:step], policy, ranked_by=ranked_by)
        return np.concatenate([before, np.full(len(shown) - step, -np.inf)])
    log_moved = plackett_luce.log_prob(
        logits[best] / policy.temperature, moved, max_fall=policy.max_fall
    )
    last = log_moved[-1] if len(log_moved) else 0.0
    return np.concatenate([log_moved, last + np.cumsum(stays)])
