"""What reward to expect before acting: a ridge regression on what was known then, cross-fitted by query.

A baseline takes variance out of the advantages. It never sees the action, and a query never informs its own
expectation: each fold is predicted by a fit on the others. It is fitted on greedy answers where there are enough
of them, which anchors the advantages to the serving champion.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

Floats = NDArray[np.float64]

FOLDS: Final = 5
PENALTY: Final = 10.0
"""Of the squared coefficients of standardised features; the intercept is free."""
MIN_ROWS: Final = 50
"""Fewer greedy answers: fit on all. Fewer answers: their mean."""
IGNORANT: Final = 0.5
"""Expected where no other query has been rewarded."""


def features(logits: Floats, *, query: str) -> list[float]:
    """What was known of one decision before acting.

    logits: (n,) as served, divided by the temperature.
    """
    best = np.sort(logits)[::-1]
    log_p = log_softmax(logits)
    return [
        float(best[0]),
        float(best[0] - best[1]) if len(best) > 1 else 0.0,
        float(best.std()),
        float(-(np.exp(log_p) * log_p).sum()),
        float(np.log(len(best))),
        float(np.log1p(len(query))),
    ]


def expected(
    known: Sequence[Sequence[float]],
    rewards: Floats,
    *,
    greedy: NDArray[np.bool_],
    folds: NDArray[np.int64],
) -> Floats:
    """The expected reward of each decision, in [0, 1].

    known: (B, F) `features`.  rewards: (B,) in [0, 1].  folds: (B,) the same for all decisions of a query.
    """
    known_BF = np.asarray(known, dtype=np.float64)
    expected_B = np.full(len(rewards), IGNORANT)
    for fold in np.unique(folds):
        others = _anchored(folds != fold, greedy)
        if others.any():
            own = folds == fold
            expected_B[own] = _ridge(known_BF[others], rewards[others], known_BF[own])
    return expected_B.clip(0.0, 1.0)


def _anchored(others: NDArray[np.bool_], greedy: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return others & greedy if (others & greedy).sum() >= MIN_ROWS else others


def _ridge(known_BF: Floats, rewards_B: Floats, asked_QF: Floats) -> Floats:
    mean = rewards_B.mean()
    if len(rewards_B) < MIN_ROWS:
        return np.full(len(asked_QF), mean)
    centre, scale = known_BF.mean(0), known_BF.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    x_BF = (known_BF - centre) / scale
    gram = x_BF.T @ x_BF + PENALTY * np.eye(x_BF.shape[1])
    weights = np.linalg.solve(gram, x_BF.T @ (rewards_B - mean))
    predicted: Floats = mean + (asked_QF - centre) / scale @ weights
    return predicted
