"""Which settings are the quickest: all take part at first, and each stage goes on with the quicker half of them.

Every round measures the same work with every setting that is left, in a new order, so that what slows a machine down
for a while slows all of them down. Settings are compared by their ratios within rounds.
"""

import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from math import ceil, comb, exp, log
from statistics import median
from typing import Final, TypeAlias

MIN_ROUNDS: Final = 2
"""Of a stage, however long they take."""
FEW: Final = 1
"""The last stage goes on with so many settings beside those that are kept."""
NO_GAIN: Final = 0.02
"""What gains less is not worth a setting."""
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Arm:
    """Settings of a service."""

    precision: str
    threads: int
    batch_tokens: int

    def differences(self, other: "Arm") -> int:
        """How many settings are others."""
        return (
            (self.precision != other.precision)
            + (self.threads != other.threads)
            + (self.batch_tokens != other.batch_tokens)
        )


Measure: TypeAlias = Callable[[Arm, int], Awaitable[float]]
"""The seconds that settings take for the work of a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times as long as another, at the median of rounds, with the 95 % interval of that median."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether none of the two can be said to be the quicker one."""
        return self.low <= 1 <= self.high


@dataclass(slots=True, kw_only=True)
class Trial:
    """What was measured so far."""

    reference: Arm
    """Takes part in every round."""
    seconds: dict[Arm, list[float]] = field(default_factory=dict)
    """By settings, one for each round from the first until they were dropped."""

    def ratio(self, arm: Arm, other: Arm) -> Ratio:
        """Over the rounds that both took part in."""
        rounds = zip(self.seconds[arm], self.seconds[other], strict=False)
        value, low, high = median_interval([log(one / two) for one, two in rounds])
        return Ratio(value=exp(value), low=exp(low), high=exp(high))

    def slowness(self, arm: Arm) -> float:
        """How many times as long as the reference."""
        return self.ratio(arm, self.reference).value

    def quickest(self, arms: Collection[Arm]) -> Arm:
        return min(arms, key=self.slowness)


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the interval between two of the values that holds it in 95 of 100 cases.

    It asks nothing of how values are distributed. Under six of them it is their whole range, which promises less.
    """
    count, ordered = len(values), sorted(values)
    outside, tail = 0, 0.5**count
    while tail + comb(count, outside + 1) * 0.5**count <= (1 - CONFIDENCE) / 2:
        outside += 1
        tail += comb(count, outside) * 0.5**count
    return median(ordered), ordered[outside], ordered[count - 1 - outside]


async def halved(
    arms: Iterable[Arm],
    measure: Measure,
    *,
    kept: AbstractSet[Arm],
    reference: Arm,
    seconds: float,
    told: Callable[[Collection[Arm]], object],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Trial, list[Arm]]:
    """The trial, and the settings that were left at its end.

    kept: they are never dropped; the reference is one of them.  seconds: shared out among the stages evenly.
    told: called with those that are left before each stage.
    """
    trial, rng, left = Trial(reference=reference), random.Random(0), sorted(arms)  # noqa: S311
    sizes = stages(len(left), at_least=len(kept) + FEW)
    number = 0
    for size in sizes:
        left = _quicker(trial, left, kept=kept, size=size)
        told(left)
        end, begun = clock() + seconds / len(sizes), number
        while number < begun + MIN_ROUNDS or clock() < end:
            for arm in rng.sample(left, len(left)):
                trial.seconds.setdefault(arm, []).append(await measure(arm, number))
            number += 1
    return trial, left


def stages(count: int, *, at_least: int) -> list[int]:
    """How many take part in each stage: all, then half of them, and so on."""
    sizes = [count]
    while sizes[-1] > at_least:
        sizes.append(max(at_least, ceil(sizes[-1] / 2)))
    return sizes


def _quicker(trial: Trial, arms: list[Arm], *, kept: AbstractSet[Arm], size: int) -> list[Arm]:
    if len(arms) == size:
        return arms
    others = sorted((arm for arm in arms if arm not in kept), key=trial.slowness)
    return [*(arm for arm in arms if arm in kept), *others[: size - len(kept)]]


def simplest(trial: Trial, arms: Collection[Arm], *, default: Arm, exact: str) -> Arm:
    """Of the settings that are within noise of the quickest, or lose next to nothing to it: those to use.

    The exact precision comes before others, then as many defaults as possible.
    """
    best = trial.quickest(arms)

    def is_near(arm: Arm) -> bool:
        ratio = trial.ratio(arm, best)
        return ratio.is_noise or ratio.value <= 1 + NO_GAIN

    return min(
        filter(is_near, arms),
        key=lambda arm: (arm.precision != exact, arm.differences(default), trial.slowness(arm)),
    )
