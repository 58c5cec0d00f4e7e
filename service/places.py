"""What is said of the documents shown: scores that never rise, on the scale of the starting model."""

import math
from dataclasses import dataclass

import numpy as np

from contract.artifact import Anchor
from contract.plackett_luce import Logits, Positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One of the documents shown."""

    index: int
    """Its request position."""
    relevance: float
    """In (0, 1); strictly falls from place to place, whatever is shown there."""
    raw: float
    """The same as a logit on the base's scale."""
    model_relevance: float
    """In (0, 1): what the model says of this document itself."""
    model_raw: float


def of(anchor: Anchor, logits: Logits, shown: Positions) -> tuple[Place, ...]:
    columns = (
        shown.tolist(),
        falling(anchor, logits),
        falling_raw(anchor, logits),
        anchor.relevance(logits)[shown].tolist(),
        anchor.anchored(logits)[shown].tolist(),
    )
    return tuple(
        Place(index=index, relevance=relevance, raw=raw, model_relevance=own, model_raw=own_raw)
        for index, relevance, raw, own, own_raw in zip(*columns, strict=False)
    )


def falling(anchor: Anchor, logits: Logits) -> tuple[float, ...]:
    """The j-th largest anchored score for place j, whatever is shown there; equal ones are moved down by a hair.

    logits: (n,) in any order.  Returns (n,) in (0, 1), strictly falling.
    """
    best_first = anchor.relevance(np.sort(logits)[::-1])
    # The smallest numbers there are, so that scores that underflow still fall and stay above 0.
    floor = np.arange(len(logits), 0, -1) * np.finfo(np.float64).smallest_subnormal
    return _strictly(np.maximum(best_first, floor))


def falling_raw(anchor: Anchor, logits: Logits) -> tuple[float, ...]:
    """The same as logits on the base's scale."""
    return _strictly(anchor.anchored(np.sort(logits)[::-1]))


def _strictly(best_first: Logits) -> tuple[float, ...]:
    values = best_first.tolist()
    for place in range(1, len(values)):
        values[place] = min(values[place], math.nextafter(values[place - 1], -math.inf))
    return tuple(values)
