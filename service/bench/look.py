"""A closer look at a few settings: one request at a time, what it says beside float32, and the memory it takes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.bench.requests import Prepared
from service.bench.rig import Rig
from service.bench.trial import Arm

SMALL: Final = 10
LARGE: Final = 50
"""Documents of the two requests whose times are told."""
TOP: Final = 10
MOST: Final = 8
"""Requests of each size that everything is asked."""
_LEAST: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one request at a time sees of settings."""

    small_s: float
    """Of 10 documents, the median."""
    large_s: float
    """Of 50 documents, the median."""
    overlap: float | None
    """Share of float32's first ten of 50 that are among the first ten here; None without float32."""
    peak_bytes: int
    """Resident memory of a process that does nothing else."""

    def differs(self, min_overlap: float) -> bool:
        return self.overlap is not None and self.overlap < min_overlap


@dataclass(slots=True, kw_only=True)
class Seen:
    """What settings said, request after request."""

    small_s: list[float] = field(default_factory=list)
    large_s: list[float] = field(default_factory=list)
    logits: list[NDArray[np.float64]] = field(default_factory=list)
    """Of the large requests, (50,) each."""

    def look(self, *, exact: "Seen | None", peak_bytes: int) -> Look:
        """exact: what float32 said to the same requests."""
        return Look(
            small_s=median(self.small_s),
            large_s=median(self.large_s),
            overlap=None if exact is None else overlap(self.logits, exact.logits),
            peak_bytes=peak_bytes,
        )


async def seen(
    rig: Rig,
    arms: Sequence[Arm],
    *,
    small: Sequence[Prepared],
    large: Sequence[Prepared],
    seconds: float,
) -> dict[Arm, Seen]:
    """By settings, which take turns with every request; three of them at least, however long they take."""
    found = {arm: Seen() for arm in arms}
    end = time.perf_counter() + seconds
    for number in range(MOST):
        if number >= _LEAST and time.perf_counter() > end:
            break
        for arm, answers in found.items():
            one = await rig.score(arm, [small[number % len(small)]])
            other = await rig.score(arm, [large[number % len(large)]])
            answers.small_s.append(one.seconds)
            answers.large_s.append(other.seconds)
            answers.logits += other.logits
    return found


def overlap(
    found: Sequence[NDArray[np.float64]], exact: Sequence[NDArray[np.float64]], *, top: int = TOP
) -> float:
    """Share of the first ten by `exact` that are among the first ten by `found`, on average over the requests.

    Equal logits keep the order of the request, as answers do.
    """
    return fmean(
        len(_first(one, top) & _first(two, top)) / min(top, len(two))
        for one, two in zip(found, exact, strict=True)
    )


def _first(logits: NDArray[np.float64], top: int) -> set[int]:
    return set(np.argsort(-logits, kind="stable")[:top].tolist())
