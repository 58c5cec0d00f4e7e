"""Rankings drawn by Plackett-Luce, and the probability of each prefix of one.

Ranks are positions in the greedy order: 0 is the best logit. `max_fall` bounds the harm of
exploring: an item whose rank is r is shown at position r + max_fall at the latest. Where an item is
due its step is forced; it has probability 1 and nothing can be learned from it. Elsewhere a step is
a softmax over what is left, as without the bound. Sources: Luce (1959); Plackett (1975); Gumbel
top-k: Kool et al. (2019), arXiv:1903.06059.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Logits: TypeAlias = NDArray[np.float64]
Positions: TypeAlias = NDArray[np.int64]


def greedy(logits: Logits) -> Positions:
    """Every position, best logit first; ties in request order."""
    return np.argsort(-logits, kind="stable")


def sample(logits: Logits, rng: np.random.Generator, *, max_fall: int | None = None) -> Positions:
    """One ranking of all items: Gumbel top-k, with items that are due put first.

    logits: (n,) already divided by the temperature, in greedy order.  Returns (n,) ranks.
    """
    drawn = np.argsort(-(logits + rng.gumbel(size=len(logits))), kind="stable")
    return drawn if max_fall is None else _none_overdue(drawn, max_fall)


def _none_overdue(drawn: Positions, max_fall: int) -> Positions:
    waiting = dict.fromkeys(drawn.tolist())
    shown = []
    for step in range(len(drawn)):
        due = step - max_fall
        rank = due if due in waiting else next(iter(waiting))
        del waiting[rank]
        shown.append(rank)
    return np.array(shown, dtype=np.int64)


def forced_steps(shown: Positions, *, max_fall: int | None) -> NDArray[np.bool_]:
    """Which steps of `shown` had no choice because an item was due.

    shown: (k,) ranks, best first.  Returns (k,).
    """
    forced = np.zeros(len(shown), dtype=bool)
    if max_fall is None:
        return forced
    placed: set[int] = set()
    for step, rank in enumerate(shown.tolist()):
        due = step - max_fall
        forced[step] = due >= 0 and due not in placed
        placed.add(rank)
    return forced


def log_prob(
    logits: Logits, shown: Sequence[int] | Positions, *, max_fall: int | None = None
) -> NDArray[np.float64]:
    """Log-probability of every prefix of `shown`.

        log p(shown_1..t) = sum_{i <= t, not forced} [ s(shown_i) - log sum_{j not in shown_<i} exp
        s(j) ]

    logits: (n,) already divided by the temperature, in greedy order.
    shown: (k,) distinct ranks, best first.  Returns (k,) nats, never rising, each <= 0;
    -inf from the step where the bound forbids what was shown.

    >>> float(np.exp(log_prob(np.log([3.0, 1.0]), [0])[0]).round(6))
    0.75
    """
    ranks = np.asarray(shown, dtype=np.int64)
    unshown = np.delete(np.arange(len(logits)), ranks)
    in_order = logits[np.concatenate([ranks, unshown])]
    log_remaining = np.logaddexp.accumulate(in_order[::-1])[::-1]
    steps = (in_order - log_remaining)[: len(ranks)]
    forced = forced_steps(ranks, max_fall=max_fall)
    kept = forced & (ranks == np.arange(len(ranks)) - (max_fall or 0))
    return np.cumsum(np.where(forced, np.where(kept, 0.0, -np.inf), np.minimum(steps, 0.0)))
