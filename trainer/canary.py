"""Is the new model better for users? What to do with a canary, from counts and sums of both arms.

The rule may be asked at any time and as often as one likes. It knows no database, no clock and no traffic: who asks
hands it sums over units (sessions, else decisions) whose windows are closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from trainer import sequences
from trainer.sequences import Difference, Moments

SHARES: Final = (0.1, 0.5)
"""What the canary answers, stage by stage."""


class Step(StrEnum):
    """What to do now."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    KEEP_CHAMPION = "keep_champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm in one stage; all values are means within a unit."""

    reward: Moments
    """Of the units that somebody judged."""
    coverage: Moments
    """Share of decisions that somebody judged, of all units."""
    errors: Moments
    """Share of requests that failed."""
    slow: Moments
    """Share of requests slower than the champion's p99 before the canary."""
    not_finite: int = 0
    """Scores that were no finite number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Both arms while the canary had one share."""

    share: float
    canary: Arm
    champion: Arm
    hold_back: float = 0.0
    """What the base answers beside both."""

    @property
    def of_both(self) -> float:
        """The canary's share of what it and the champion answer."""
        return self.share / (1 - self.hold_back)


Pair: TypeAlias = tuple[float, Arm, Arm]
"""Two arms in one stage, and the first one's share of the units of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that is known of a canary."""

    stages: tuple[Stage, ...]
    """In order; the last one is the present."""
    passed_gate: bool
    margins_granted: float = 0.0
    """What the models since the base may have lost, less what later ones surely gained; never under 0."""
    below_base: bool = False
    """Whether the champion is surely worse than the base, by those whom the base answers."""
    over: bool = False
    """Whether its time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is risked, and what must not happen."""

    alpha: float = 0.05
    """Chance of rolling back or calling better a model that is the same, over all looks."""
    guard_alpha: float = 0.001
    """The same of each guardrail and of each check that the arms are comparable."""
    min_units: int = 50
    """Of each arm, judged in the present stage; with fewer nothing is concluded."""
    max_loss: float = 0.1
    """The share grows once the canary is surely not worse by so much."""
    margin: float = 0.02
    """A model that passed the gate may be worse by so much, at the largest share."""
    margins: float = 0.06
    """What may have been lost since the base may sum to so much."""
    more_slow: float = 0.01
    """So many more requests may be slow; at twice the champion's 1 % the p99 is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do, and why."""

    step: Step
    reason: str
    value: float
    """Canary's reward less the champion's."""
    low: float
    high: float
    margin: float = 0.0
    """Where it promotes, the loss that it may let in; less than 0 where the canary is surely better."""


def decide(seen: Seen, limits: Limits) -> Verdict:
    """Guardrails first, then whether the arms can be compared, then the sequence; undecided keeps the champion."""
    gain = sequences.difference(
        [(stage.canary.reward, stage.champion.reward) for stage in seen.stages]
    )
    low, high = (float(bound) for bound in sequences.interval(gain, alpha=limits.alpha))
    bounds = interval_in_words(float(gain.value), low, high)
    step, reason, margin = _step(seen, limits, low=low, high=high, bounds=bounds)
    if seen.over and step in {Step.HOLD, Step.ADVANCE}:
        step, reason = Step.KEEP_CHAMPION, f"its time is up: {reason}"
    return Verdict(
        step=step, reason=reason, value=float(gain.value), low=low, high=high, margin=margin
    )


def interval_in_words(value: float, low: float, high: float) -> str:
    return f"gain {value:+.4f}, between {low:+.4f} and {high:+.4f}"


def _step(
    seen: Seen, limits: Limits, *, low: float, high: float, bounds: str
) -> tuple[Step, str, float]:
    fired = _guardrail(seen, limits)
    if fired is not None:
        return Step.ROLL_BACK, fired, 0.0
    incomparable = _incomparable(seen, limits)
    if incomparable is not None:
        return Step.HOLD, incomparable, 0.0
    return _compared(seen, limits, low=low, high=high, bounds=bounds)


def _compared(
    seen: Seen, limits: Limits, *, low: float, high: float, bounds: str
) -> tuple[Step, str, float]:
    if high < 0:
        return Step.ROLL_BACK, f"it is worse: {bounds}", 0.0
    if low > 0:
        return Step.PROMOTE, f"it is better: {bounds}", -low
    if seen.stages[-1].share < SHARES[-1]:
        return Step.ADVANCE if low > -limits.max_loss else Step.HOLD, bounds, 0.0
    if low > -limits.margin and _may_be_granted(seen, limits, margin=-low):
        return Step.PROMOTE, f"it passed the gate and is not worse: {bounds}", -low
    return Step.HOLD, bounds, 0.0


def _guardrail(seen: Seen, limits: Limits) -> str | None:
    """Why the canary must go at once."""
    if any(stage.canary.not_finite for stage in seen.stages):
        return "a score was not finite"
    units = [sum(int(arm.errors.count) for arm in arms) for arms in _by_arm(seen)]
    if min(units) < limits.min_units:
        return None
    failing = sequences.difference(
        [(stage.canary.errors, stage.champion.errors) for stage in seen.stages]
    )
    slow = sequences.difference([(stage.canary.slow, stage.champion.slow) for stage in seen.stages])
    if _above(failing, 0.0, alpha=limits.guard_alpha):
        return f"{float(failing.value):+.2%} of its requests fail"
    if _above(slow, limits.more_slow, alpha=limits.guard_alpha):
        return f"{float(slow.value):+.2%} of its requests are slower than the champion's p99"
    return None


def _by_arm(seen: Seen) -> tuple[list[Arm], list[Arm]]:
    return [stage.canary for stage in seen.stages], [stage.champion for stage in seen.stages]


def _incomparable(seen: Seen, limits: Limits) -> str | None:
    """Why a difference of rewards would say nothing of the models."""
    now = seen.stages[-1]
    fewest = int(min(now.canary.reward.count, now.champion.reward.count))
    if fewest < limits.min_units:
        return too_few(fewest, limits)
    pairs = [(stage.of_both, stage.canary, stage.champion) for stage in seen.stages]
    return unequal(pairs, whose="the canary's", alpha=limits.guard_alpha)


def too_few(fewest: int, limits: Limits) -> str:
    return f"{fewest} judged units in one arm, {limits.min_units} are needed"


def unequal(pairs: Sequence[Pair], *, whose: str, alpha: float) -> str | None:
    """Why two arms are not alike but for their models, if they are not."""
    shares = sequences.imbalance(
        [(share, one.coverage, other.coverage) for share, one, other in pairs]
    )
    if _differs(shares, alpha=alpha):
        return f"{whose} share of units is off by {float(shares.value):+.2%}"
    coverage = sequences.difference([(one.coverage, other.coverage) for _, one, other in pairs])
    if _differs(coverage, alpha=alpha):
        return f"the arms are judged unequally often, by {float(coverage.value):+.2%}"
    return None


def _may_be_granted(seen: Seen, limits: Limits, *, margin: float) -> bool:
    """Margins are small steps down: none is taken from where one is surely below the base already."""
    is_left = seen.margins_granted + margin <= limits.margins
    return seen.passed_gate and is_left and not seen.below_base


def _above(found: Difference, bound: float, *, alpha: float) -> bool:
    return bool(sequences.interval(found, alpha=alpha)[0] > bound)


def _differs(found: Difference, *, alpha: float) -> bool:
    low, high = sequences.interval(found, alpha=alpha)
    return bool(low > 0 or high < 0)
