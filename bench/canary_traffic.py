"""Simulated traffic of a canary, whose truth is known: what each arm's sums are at every look.

Units make one request or several, some are judged, and a unit's rewards resemble each other.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainer.canary import SHARES, Arm, Stage
from trainer.sequences import Moments

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Traffic whose truth is known."""

    base: float = 0.7
    """Mean reward of the champion."""
    alike: float = 0.2
    """Correlation of two rewards of one unit."""
    more: float = 2 / 3
    """Chance of one more request of the same unit."""
    most: int = 6
    """Requests of one unit."""
    judged: float = 0.5
    """Share of requests that are judged."""
    gap: float = 30.0
    """Mean time between two requests of a unit, in arrivals of units."""
    units: tuple[int, ...] = (5_000, 6_000)
    """Of each stage."""
    every: int = 25
    """Arrivals of units between two looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One stage of many runs at all looks; arrays of (runs, looks)."""

    share: float
    reward: tuple[Moments, Moments]
    """Of canary and champion."""
    coverage: tuple[Moments, Moments]
    rewards: Floats
    """Rewards that were observed in both arms."""

    def at(self, run: int, look: int) -> Stage:
        """What the rule is shown."""
        arms = [
            Arm(
                reward=reward.at((run, look)),
                coverage=coverage.at((run, look)),
                errors=Moments.of([]),
                slow=Moments.of([]),
            )
            for reward, coverage in zip(self.reward, self.coverage, strict=True)
        ]
        return Stage(share=self.share, canary=arms[0], champion=arms[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """All requests of one stage of some runs, as arrays of (runs, units, requests)."""

    cell: NDArray[np.int64]
    """Run, arm and look as one number; the canary is arm 0."""
    shape: tuple[int, int, int]
    """Runs, arms, looks."""
    asked: NDArray[np.bool_]
    """Made before the last look."""
    judged: NDArray[np.bool_]
    rewards: Floats

    def summed(self, values: Floats, where: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Sums of the values up to each look, of canary and champion."""
        flat = np.bincount(
            self.cell[where], weights=values[where], minlength=int(np.prod(self.shape))
        )
        total = flat.reshape(self.shape).cumsum(axis=-1)
        return total[:, 0], total[:, 1]

    def moments(
        self, total: Floats, count: Floats, where: NDArray[np.bool_]
    ) -> tuple[Moments, Moments]:
        """Of units' means total / count at each look, summed from what each request changes in its unit's mean."""
        mean = total / np.maximum(count, 1)
        before = np.concatenate([np.zeros_like(mean[..., :1]), mean[..., :-1]], axis=-1)
        counts = self.summed((count == 1) * 1.0, where)
        totals = self.summed(mean - before, where)
        squares = self.summed(mean**2 - before**2, where)
        canary, champion = (
            Moments(count=counts[arm], total=totals[arm], squares=squares[arm]) for arm in (0, 1)
        )
        return canary, champion


def requests(
    rng: np.random.Generator, world: World, *, runs: int, stage: int, gain: float
) -> Requests:
    """gain: by how much the canary's mean reward exceeds the champion's."""
    units = world.units[stage]
    slots, shape = (runs, units, world.most), (runs, 2, units // world.every)
    arm = (rng.random((runs, units)) >= SHARES[stage]).astype(np.int64)
    mean, rest = world.base + gain * (arm == 0), 1 / world.alike - 1
    worth = rng.beta(mean * rest, (1 - mean) * rest)[..., None]
    wanted = np.arange(world.most) < rng.geometric(1 - world.more, (runs, units))[..., None]
    gaps = rng.exponential(world.gap, slots)
    gaps[..., 0] = 0.0
    look = ((np.arange(units)[:, None] + gaps.cumsum(axis=-1)) // world.every).astype(np.int64)
    asked = wanted & (look < shape[2])
    judged = asked & (rng.random(slots) < world.judged)
    row = (np.arange(runs)[:, None] * 2 + arm) * shape[2]
    return Requests(
        cell=row[..., None] + look,
        shape=shape,
        asked=asked,
        judged=judged,
        rewards=judged * (rng.random(slots) < worth) * 1.0,
    )


def watch(rng: np.random.Generator, world: World, *, runs: int, stage: int, gain: float) -> Watched:
    """Simulates one stage of so many runs and adds it up at every look."""
    made = requests(rng, world, runs=runs, stage=stage, gain=gain)
    seen = made.judged.cumsum(axis=-1, dtype=np.float64)
    said = made.rewards.cumsum(axis=-1)
    asked = made.asked.cumsum(axis=-1, dtype=np.float64)
    canary, champion = made.summed(np.ones_like(said), made.judged)
    return Watched(
        share=SHARES[stage],
        reward=made.moments(said, seen, made.judged),
        coverage=made.moments(seen, asked, made.asked),
        rewards=canary + champion,
    )
