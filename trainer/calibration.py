"""What a version's logits mean: how far exploration spreads over them, and which of the base's they equal."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from contract.artifact import Anchor

Floats = NDArray[np.float64]

TARGET_PERPLEXITY: Final = 3.5
"""The mean number of documents that the first place of an explored answer hesitates between."""
CANDIDATES: Final = 20
KNOTS: Final = 33
MIN_GAP: Final = 1e-6


def perplexity(logits: Floats, *, temperature: float) -> float:
    """Exp of the entropy of softmax(logits / temperature): 1 when certain, n when indifferent."""
    scaled = (logits - logits.max()) / temperature
    probability = np.exp(scaled) / np.exp(scaled).sum()
    return float(np.exp(-(probability * np.log(np.maximum(probability, 1e-300))).sum()))


def temperature(lists: Sequence[Floats], *, target: float = TARGET_PERPLEXITY) -> float:
    """The temperature at which the mean perplexity of the lists' 20 best logits is the target.

    Where no temperature reaches it (lists shorter than the target), the one that comes nearest.
    """
    best = [np.sort(logits)[-CANDIDATES:] for logits in lists]

    def excess(log_temperature: float) -> float:
        tau = float(np.exp(log_temperature))
        return float(np.mean([perplexity(logits, temperature=tau) for logits in best])) - target

    spread = max(float(np.mean([logits.std() for logits in best])), MIN_GAP)
    low, high = np.log(spread) - 7, np.log(spread) + 7
    if excess(high) <= 0:
        return float(np.exp(high))
    if excess(low) >= 0:
        return float(np.exp(low))
    return float(np.exp(brentq(excess, low, high, xtol=1e-6)))


def matched(
    lists: Sequence[Floats], *, like: Sequence[Floats], temperature_of_those: float
) -> float:
    """The temperature at which these logits hesitate as much as those do at theirs.

    Without it a model that is only surer of the same order would seem better than the one that it is compared with.
    """
    hesitation = [
        perplexity(np.sort(logits)[-CANDIDATES:], temperature=temperature_of_those)
        for logits in like
    ]
    return temperature(lists, target=float(np.mean(hesitation)))


def anchor(logits: Floats, *, base: Sequence[float] = ()) -> Anchor:
    """Maps the quantiles of this version's logits to the base's. Without those, it is the base: identity.

    logits: (n,) of the reference sample.  base: the `base` of any anchor in the same line.
    """
    own = np.quantile(logits, np.linspace(0, 1, len(base) or KNOTS))
    rising = np.concatenate([[True], np.diff(own) > MIN_GAP])
    target = np.array(base or own)[rising]
    return Anchor(own=tuple(own[rising].tolist()), base=tuple(target.tolist()))
