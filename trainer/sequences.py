"""Confidence sequences: intervals of a difference between two concurrent arms that may be looked at at any time.

An ordinary interval misses at its level once; looked at again and again, it misses sooner or later. A sequence misses
at its level over all looks together. Units (sessions, else decisions) are independent, the decisions of one are not:
each unit counts once, with its mean. Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021), the asymptotic
sequence from Robbins' normal mixture.

Shapes: L looks, or () for one; all sums grow along L.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

TUNED_AT: Final = 100.0
"""The size at which a sequence is tightest: about 1,100 units where one in ten sees the canary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What is kept of one arm's units: how many, the sum of their values and of the squares."""

    count: Floats
    total: Floats
    squares: Floats

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """Of the units' values themselves."""
        units = np.asarray(values, dtype=np.float64)
        return cls(
            count=np.float64(len(units)) * np.ones(()),
            total=np.asarray(units.sum()),
            squares=np.asarray((units**2).sum()),
        )

    def at(self, place: int | tuple[int, int]) -> Self:
        """Of one among many."""
        return type(self)(
            count=np.asarray(self.count[place]),
            total=np.asarray(self.total[place]),
            squares=np.asarray(self.squares[place]),
        )

    @property
    def mean(self) -> Floats:
        """0 where there is no unit."""
        return np.asarray(self.total / np.maximum(self.count, 1))

    @property
    def variance(self) -> Floats:
        """Of the mean: the sample variance over the count; infinite below two units."""
        around = np.maximum(self.squares - self.count * self.mean**2, 0.0)
        freedom = np.maximum(self.count - 1, 1)
        return np.where(self.count > 1, around / freedom / np.maximum(self.count, 1), np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An estimate with its variance, and how much it rests on."""

    value: Floats
    variance: Floats
    size: Floats
    """Units that count in full: n m / (n + m) of arms of n and m."""


def difference(stages: Sequence[tuple[Moments, Moments]]) -> Difference:
    """First arm less second, each stage within itself: shares that change over time bring in no trend.

    d = sum_s h_s (mean_s1 - mean_s2) / sum_s h_s,   h_s = n_s1 n_s2 / (n_s1 + n_s2), 0 below two units of an arm
    """
    size = _summed([_size(*stage) for stage in stages])
    weights = [_size(*stage) / np.maximum(size, 1e-12) for stage in stages]
    value = _summed(
        [weight * (a.mean - b.mean) for weight, (a, b) in zip(weights, stages, strict=True)]
    )
    variance = _summed(
        [
            weight**2 * np.where(weight > 0, a.variance + b.variance, 0.0)
            for weight, (a, b) in zip(weights, stages, strict=True)
        ]
    )
    return Difference(value=value, variance=np.where(size > 0, variance, np.inf), size=size)


def imbalance(stages: Sequence[tuple[float, Moments, Moments]]) -> Difference:
    """By how much the first arm's share of units exceeds the share that it was given, pooled over stages."""
    excess = _summed([a.count - share * (a.count + b.count) for share, a, b in stages])
    units = np.maximum(_summed([a.count + b.count for _, a, b in stages]), 1)
    size = _summed([share * (1 - share) * (a.count + b.count) for share, a, b in stages])
    return Difference(value=excess / units, variance=size / units**2, size=size)


def interval(found: Difference, *, alpha: float) -> tuple[Floats, Floats]:
    """Lower and upper bound, both right at all looks together with probability 1 - alpha."""
    half = np.sqrt(found.variance) * spread(found.size, alpha=alpha)
    return found.value - half, found.value + half


def spread(size: ArrayLike, *, alpha: float) -> Floats:
    """How many standard errors the sequence is wide to each side.

    sqrt( 2 (h rho^2 + 1) / (h rho^2) log( sqrt(h rho^2 + 1) / alpha ) ),   h = size

    rho makes it tightest at `TUNED_AT`: rho^2 = (-2 log alpha + log(1 - 2 log alpha)) / TUNED_AT.
    """
    rho_squared = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / TUNED_AT
    time = np.maximum(np.asarray(size, dtype=np.float64), 1e-12) * rho_squared
    return np.asarray(np.sqrt(2 * (time + 1) / time * np.log(np.sqrt(time + 1) / alpha)))


def _size(a: Moments, b: Moments) -> Floats:
    """0 where an arm has fewer than two units: of one nobody knows how it varies."""
    size = a.count * b.count / np.maximum(a.count + b.count, 1)
    return np.where(np.minimum(a.count, b.count) > 1, size, 0.0)


def _summed(parts: Sequence[Floats]) -> Floats:
    return np.asarray(np.sum(np.broadcast_arrays(*parts), axis=0))
