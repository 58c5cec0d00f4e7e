"""How good answers were before and after: means, and the interval of their difference over the same questions."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from examples.demo.application import Answered

RESAMPLES: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same questions."""

    start: float
    final: float
    interval: tuple[float, float]
    """95 % of final - start, resampled by cluster."""
    questions: int
    clusters: int

    @property
    def gain(self) -> float:
        return self.final - self.start


def mean(answered: Sequence[Answered]) -> float:
    return fmean(each.quality for each in answered)


def compare(start: Sequence[Answered], final: Sequence[Answered], *, seed: int) -> Comparison:
    """Paired by question; questions that only one side answered are left out."""
    before = {each.ask.id: each for each in start}
    pairs = [(before[each.ask.id], each) for each in final if each.ask.id in before]
    differences: dict[str, list[float]] = defaultdict(list)
    for one, other in pairs:
        differences[one.ask.cluster].append(other.quality - one.quality)
    return Comparison(
        start=mean([one for one, _ in pairs]),
        final=mean([other for _, other in pairs]),
        interval=interval(list(differences.values()), seed=seed),
        questions=len(pairs),
        clusters=len(differences),
    )


def interval(clusters: Sequence[Sequence[float]], *, seed: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the mean over all values when whole clusters are drawn again."""
    sums = np.array([sum(values) for values in clusters])
    sizes = np.array([len(values) for values in clusters])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(clusters), size=(RESAMPLES, len(clusters)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def by_group(answered: Sequence[Answered]) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = defaultdict(list)
    for each in answered:
        groups[each.ask.group].append(each)
    return dict(sorted(groups.items()))
