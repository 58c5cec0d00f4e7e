"""How long the gate and a canary take to tell, for a site's traffic: the formulas that will judge, run backwards.

All numbers are what a model of that true gain needs half the time (canary) or four times in five (gate).
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Final

from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student
from sqlalchemy import Connection, LargeBinary, Select, cast, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from contract.tables import decisions, evaluations, rewards
from trainer import gate, sequences
from trainer.canary import SHARES, Limits
from trainer.estimators import MIN_CLUSTERS, MIN_CLUSTERS_SMALL_GAIN, SMALL_GAIN
from trainer.gate import Kind

DAY_S: Final = 86_400
POWER: Final = 0.8
"""How often the gate passes a model whose gain is exactly the one that is named."""
READ: Final = 20_000
"""Newest rewards from which a spread is measured."""
ENOUGH: Final = 100
"""Units from which a spread may be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How much single rewards vary: measured in a log, or assumed."""

    change: float = 0.43
    """Standard deviation of Dw (R - b) of one decision, times the square root of the share that explores.

    Assumed: logits that moved by half a temperature, three of twenty documents used, six rewards of ten.
    """
    unit: float = 0.46
    """Standard deviation of a unit's mean reward. Assumed: seven of ten single rewards are 1."""
    rewards_of_unit: float = 1.0
    """Rewards of a unit that was judged."""
    change_measured: bool = False
    units_measured: int = 0
    """0 where the spread of units is assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Traffic, and what the trainer makes of it."""

    rps: float
    feedback_rate: float
    """Share of requests that are judged."""
    explore: float
    """Share of requests that explore."""
    gate_share: float
    """Share of queries that judge."""
    round_min_rewards: int
    """Rewards before the first round."""
    alpha: float
    """Chance of promoting what is no better, over all rounds."""
    candidates: int
    """Of a round: one for each rung that is climbed."""

    @property
    def rewards_a_day(self) -> float:
        return self.rps * DAY_S * self.feedback_rate


def gate_rewards(site: Site, spread: Spread, *, gain: float) -> float:
    """Rewards until the gate passes a model of that gain in its first round.

        n = ( (z_alpha + z_power) s / gain )^2 / gate share,   s = spread / sqrt(explore)

    Never before the first round, nor on fewer queries than the gate wants; each query is asked once.
    """
    single = spread.change / sqrt(site.explore)
    judging = (_quantiles(site) * single / gain) ** 2
    queries = MIN_CLUSTERS_SMALL_GAIN if gain < SMALL_GAIN else MIN_CLUSTERS
    return max(max(judging, queries) / site.gate_share, site.round_min_rewards)


def gate_gain(site: Site, spread: Spread, *, count: float) -> float | None:
    """The smallest gain that the gate sees in so many rewards; None before it judges at all."""
    if count < max(site.round_min_rewards, MIN_CLUSTERS / site.gate_share):
        return None
    gain = _quantiles(site) * spread.change / sqrt(site.explore * count * site.gate_share)
    small = count * site.gate_share < MIN_CLUSTERS_SMALL_GAIN
    return max(gain, SMALL_GAIN) if small else gain


def canary_rewards(spread: Spread, *, gain: float, until: float | None = None) -> float:
    """Rewards until a canary of that true gain, or loss, is told from the champion.

    until: half-width that ends it; without, that at which the interval excludes 0. It starts with the small share and
    goes on to the large one once it is surely not worse by `Limits.max_loss`.
    """
    small, large = (share * (1 - share) for share in SHARES)
    size = _size(spread, half=until or abs(gain))
    distance = gain + Limits().max_loss
    before = min(size, _size(spread, half=distance)) if distance > 0 else size
    units = before / small + (size - before) / large
    return units * spread.rewards_of_unit


def canary_gain(spread: Spread, *, count: float) -> float | None:
    """The smallest gain that a canary sees in so many rewards; None where it sees none of up to 1."""
    if canary_rewards(spread, gain=1.0) > count:
        return None
    found = brentq(lambda gain: canary_rewards(spread, gain=gain) - count, 1e-6, 1.0)
    return float(found)


def measured(connection: Connection, line: str) -> Spread:
    """From the line's log, as far as it goes."""
    return _with_units(connection, line, _with_change(connection, line, Spread()))


def _quantiles(site: Site) -> float:
    alpha = gate.spent(site.alpha, round_number=1, candidates=site.candidates)
    return float(norm.isf(alpha) + norm.ppf(POWER))


def _size(spread: Spread, *, half: float) -> float:
    """Effective units at which the sequence is so wide to each side."""

    def wider(size: float) -> float:
        width = sequences.spread(size, alpha=Limits().alpha)
        return spread.unit / sqrt(size) * float(width) - half

    return float(brentq(wider, 1e-3, 1e15))


def _with_change(connection: Connection, line: str, spread: Spread) -> Spread:
    """From the interval of the newest verdict on the log: (estimate - low) / t is s / sqrt(n)."""
    statement = (
        select(evaluations)
        .where(
            evaluations.c.line == line,
            evaluations.c.kind == Kind.OFFLINE.value,
            evaluations.c.low.is_not(None),
            evaluations.c.clusters >= MIN_CLUSTERS,
        )
        .order_by(evaluations.c.created_at.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    explored = connection.scalar(_explored(line))
    if row is None or not explored:
        return spread
    error = (row.estimate - row.low) / student.isf(row.alpha, row.clusters - 1)
    return replace(spread, change=float(error * sqrt(row.n * explored)), change_measured=True)


def _explored(line: str) -> Select[tuple[float]]:
    newest = (
        select(decisions.c.epsilon)
        .where(decisions.c.line == line, decisions.c.not_learnable.is_(None))
        .order_by(decisions.c.decision_id.desc())
        .limit(READ)
        .subquery()
    )
    return select(func.avg(newest.c.epsilon))


def _with_units(connection: Connection, line: str, spread: Spread) -> Spread:
    unit = func.coalesce(
        decisions.c.session_hash, cast(func.uuid_send(decisions.c.decision_id), LargeBinary)
    )
    newest = (
        select(rewards.c.decision_id, rewards.c.reward)
        .ext(distinct_on(rewards.c.decision_id))
        .where(rewards.c.line == line)
        .order_by(rewards.c.decision_id.desc(), rewards.c.closed_at.desc())
        .limit(READ)
        .subquery()
    )
    units = (
        select(func.avg(newest.c.reward).label("mean"), func.count().label("rewards"))
        .join(decisions, decisions.c.decision_id == newest.c.decision_id)
        .where(newest.c.reward.is_not(None))
        .group_by(unit)
        .subquery()
    )
    found = connection.execute(
        select(func.count(), func.stddev_samp(units.c.mean), func.avg(units.c.rewards))
    ).one()
    count, deviation, of_unit = found
    if count < ENOUGH or not deviation:
        return spread
    return replace(
        spread, unit=float(deviation), rewards_of_unit=float(of_unit), units_measured=count
    )
