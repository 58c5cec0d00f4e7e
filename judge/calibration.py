"""How far a judge can be believed: its verdicts beside gold ones, and what its errors make of a share that it reports.

Every figure comes with a 95 % interval; None stands for a figure that the counts do not determine.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, Self

from scipy.stats import binomtest, norm

CONFIDENCE: Final = 0.95
_Z: Final = float(norm.isf((1 - CONFIDENCE) / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval, which holds it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How many answers are good or bad by the gold, and were called so by the judge."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]], *, threshold: float) -> Self:
        """pairs: gold and the judge's score of each answer, in [0, 1].  threshold: from here on both mean good."""
        called = Counter((gold >= threshold, score >= threshold) for gold, score in pairs)
        return cls(
            true_positives=called[True, True],
            false_negatives=called[True, False],
            false_positives=called[False, True],
            true_negatives=called[False, False],
        )

    @property
    def good(self) -> int:
        """By the gold."""
        return self.true_positives + self.false_negatives

    @property
    def bad(self) -> int:
        """By the gold."""
        return self.false_positives + self.true_negatives


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a table says of the judge."""

    agreement: Estimate | None
    kappa: Estimate | None
    true_positive_rate: Estimate | None
    """Of the good answers, those that it calls good."""
    true_negative_rate: Estimate | None
    """Of the bad answers, those that it calls bad."""
    false_positive_rate: Estimate | None
    """Of the bad answers, those that it calls good."""

    @classmethod
    def of(cls, table: Table) -> Self:
        return cls(
            agreement=rate(table.true_positives + table.true_negatives, table.good + table.bad),
            kappa=kappa(table),
            true_positive_rate=rate(table.true_positives, table.good),
            true_negative_rate=rate(table.true_negatives, table.bad),
            false_positive_rate=rate(table.false_positives, table.bad),
        )


def rate(count: int, n: int) -> Estimate | None:
    """A share with Wilson's (1927) interval; None of nothing."""
    if n == 0:
        return None
    interval = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return _holding(count / n, float(interval.low), float(interval.high))


def kappa(table: Table) -> Estimate | None:
    """Cohen's (1960) kappa: the agreement beyond what chance would give, 1 at most.

        kappa = (p_o - p_e) / (1 - p_e),   p_e = sum_i row_i column_i

    The interval is the asymptotic one of Fleiss, Cohen & Everitt (1969) with half an answer added to each cell: without
    it, a judge that made no error on ten answers would be sure to make none, and where kappa is .94 the interval holds
    it in 47 % of samples of twenty answers.  None where all is one class: nothing is left beyond chance.
    """
    cells = (
        table.true_positives,
        table.false_negatives,
        table.false_positives,
        table.true_negatives,
    )
    found, smoothed = _kappa(cells), _kappa([count + 0.5 for count in cells])
    if found is None or smoothed is None:
        return None
    value, half = found[0], _Z * sqrt(smoothed[1])
    return _holding(value, max(smoothed[0] - half, -1), min(smoothed[0] + half, 1))


def corrected(positives: int, n: int, *, table: Table) -> Estimate | None:
    """The share of good answers among n of which the judge called so many good (Rogan & Gladen, 1978).

        share = (positives / n + tnr - 1) / (tpr + tnr - 1),   cut to [0, 1]

    The interval is that of Lang & Reiczigel (2014), Preventive Veterinary Medicine 113, 13-22, eq. 16 and 17: the rates
    are estimates themselves.  It takes the n answers and the table's two classes for independent samples.  None where
    tpr + tnr <= 1, with or without the interval's added answers: a judge that knows nothing corrects nothing.
    """
    if 0 in {n, table.good, table.bad}:
        return None
    raw = positives / n
    tpr, tnr = table.true_positives / table.good, table.true_negatives / table.bad
    interval = _lang_reiczigel(positives, n, table)
    if tpr + tnr <= 1 or interval is None:
        return None
    value = (raw + tnr - 1) / (tpr + tnr - 1)
    return _holding(_cut(value), *map(_cut, interval))


def _kappa(cells: Sequence[float]) -> tuple[float, float] | None:
    """Kappa and its variance by the delta method, which is what Fleiss, Cohen & Everitt write out.

    cells: (4,) counts, gold and judge: ++, +-, -+, --.
    """
    n = sum(cells)
    if n == 0:
        return None
    pp, pn, np, nn = (count / n for count in cells)
    gold, judge = pp + pn, pp + np
    by_chance = gold * judge + (1 - gold) * (1 - judge)
    if by_chance == 1:
        return None
    value = (pp + nn - by_chance) / (1 - by_chance)
    # d kappa / d p_ij, but for the factor 1 / (1 - p_e): what agrees, less (1 - kappa) d p_e / d p_ij.
    slopes = (
        1 - (1 - value) * (judge + gold),
        -(1 - value) * (judge + 1 - gold),
        -(1 - value) * (1 - judge + gold),
        1 - (1 - value) * (2 - judge - gold),
    )
    shares = (pp, pn, np, nn)
    mean = sum(p * slope for p, slope in zip(shares, slopes, strict=True))
    square = sum(p * slope**2 for p, slope in zip(shares, slopes, strict=True))
    return value, max(square - mean**2, 0) / (n * (1 - by_chance) ** 2)


def _lang_reiczigel(positives: int, n: int, table: Table) -> tuple[float, float] | None:
    """Not cut.  Shares towards a half: one answer for and one against each rate, z^2 / 2 for the raw share."""
    raw = _towards_half(positives, n, by=_Z**2 / 2)
    tpr = _towards_half(table.true_positives, table.good, by=1)
    tnr = _towards_half(table.true_negatives, table.bad, by=1)
    slope = tpr + tnr - 1
    if slope <= 0:
        return None
    share = (raw + tnr - 1) / slope
    of_tpr = tpr * (1 - tpr) / (table.good + 2)
    of_tnr = tnr * (1 - tnr) / (table.bad + 2)
    of_raw = raw * (1 - raw) / (n + _Z**2)
    middle = share + 2 * _Z**2 * (share * of_tpr - (1 - share) * of_tnr)
    half = _Z * sqrt(of_raw + share**2 * of_tpr + (1 - share) ** 2 * of_tnr) / slope
    return middle - half, middle + half


def _towards_half(count: int, n: int, *, by: float) -> float:
    return (count + by) / (n + 2 * by)


def _cut(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _holding(value: float, low: float, high: float) -> Estimate:
    """Intervals around a moved middle may leave out the estimate itself, by rounding or of very few answers."""
    return Estimate(value=value, low=min(low, value), high=max(high, value))
