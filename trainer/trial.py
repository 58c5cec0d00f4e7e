"""Two models side by side: which epochs gave them which shares, and what both have shown in them, as sums over units.

A canary beside the champion, or the champion beside the base that is held back.

Rewards count once their windows are closed, failed and slow requests at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import numpy as np
from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from contract import ids, quarantine, records
from contract.pointer import Live
from contract.rewards import RewardSpec
from contract.tables import decisions, failures, promotions, rewards
from trainer.canary import Arm, Pair, Stage
from trainer.sequences import Moments

NOT_FINITE: Final = "ScoresNotFinite"
"""The failure of a request whose scores were no numbers."""
BEFORE: Final = timedelta(days=7)
"""How far back the champion's times are looked for."""
MANY: Final = 10_000
"""Of the champion's newest decisions before the canary, the 99th percentile is taken."""
CLOCKS: Final = timedelta(minutes=5)
"""Clocks of replicas may be behind that of Postgres."""
MEASURES: Final = ("reward", "coverage", "errors", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Epochs in which each arm was one version with one share; a freeze makes an epoch and changes nothing."""

    champion: str
    canary: float
    hold_back: float
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Two arms since they began side by side."""

    live: Live
    versions: frozenset[str | None]
    """Of both."""
    shares: tuple[Shares, ...]
    """In order; the last one is the present."""
    began_at: datetime


def running(connection: Connection, live: Live) -> Trial:
    """The canary beside the champion, since the last epoch that served other versions."""
    other = select(func.max(promotions.c.epoch)).where(
        promotions.c.line == live.line,
        or_(
            promotions.c.version != live.version,
            promotions.c.canary_version.is_distinct_from(live.canary_version),
        ),
    )
    since = promotions.c.epoch > func.coalesce(other.scalar_subquery(), 0)
    return _trial(connection, live, beside=live.canary_version, epochs=since)


def held_back(connection: Connection, live: Live) -> Trial:
    """The base beside every champion that there was since the hold-back began, unless that was the base itself."""
    both = and_(
        promotions.c.hold_back_version == live.hold_back_version,
        promotions.c.version != live.hold_back_version,
    )
    return _trial(connection, live, beside=live.hold_back_version, epochs=both)


def _trial(
    connection: Connection, live: Live, *, beside: str | None, epochs: ColumnElement[bool]
) -> Trial:
    statement = (
        select(promotions)
        .where(promotions.c.line == live.line, epochs)
        .order_by(promotions.c.epoch)
    )
    rows = connection.execute(statement).all()
    # A base that is the champion itself holds back nobody.
    holds_back = live.held_back is not None
    by_shares = groupby(
        rows, key=lambda row: (row.version, row.canary_share, holds_back * row.hold_back_share)
    )
    return Trial(
        live=live,
        versions=frozenset({beside, *(row.version for row in rows)}),
        shares=tuple(
            Shares(
                champion=champion,
                canary=canary,
                hold_back=hold_back,
                epochs=tuple(row.epoch for row in each),
            )
            for (champion, canary, hold_back), each in by_shares
        ),
        began_at=rows[0].created_at,
    )


def p99_ms(connection: Connection, trial: Trial) -> float | None:
    """What one in a hundred of the champion's requests took longer than, before it had a canary."""
    newest = (
        select(decisions.c.latency_ms)
        .where(
            decisions.c.line == trial.live.line,
            decisions.c.version == trial.live.version,
            decisions.c.latency_ms.is_not(None),
            decisions.c.decision_id >= ids.earliest(trial.began_at - BEFORE),
            decisions.c.decision_id < ids.earliest(trial.began_at),
        )
        .order_by(decisions.c.decision_id.desc())
        .limit(MANY)
        .subquery()
    )
    statement = select(func.percentile_cont(0.99).within_group(newest.c.latency_ms.asc()))
    found: float | None = connection.execute(statement).scalar_one()
    return found


def stages(
    connection: Connection, trial: Trial, spec: RewardSpec, *, slow_ms: float | None, now: datetime
) -> tuple[Stage, ...]:
    """The canary and the champion at each share."""
    found = _arms(connection, trial, spec, slow_ms=slow_ms, now=now)
    return tuple(
        Stage(
            share=each.canary,
            hold_back=each.hold_back,
            canary=arms[records.Arm.CANARY],
            champion=arms[records.Arm.CHAMPION],
        )
        for each, arms in zip(trial.shares, found, strict=True)
    )


def pairs(
    connection: Connection, trial: Trial, spec: RewardSpec, *, now: datetime
) -> tuple[Pair, ...]:
    """The base and the champion at each share."""
    found = _arms(connection, trial, spec, slow_ms=None, now=now)
    return tuple(
        (
            each.hold_back / (1 - each.canary),
            arms[records.Arm.HOLD_BACK],
            arms[records.Arm.CHAMPION],
        )
        for each, arms in zip(trial.shares, found, strict=True)
    )


def _arms(
    connection: Connection, trial: Trial, spec: RewardSpec, *, slow_ms: float | None, now: datetime
) -> list[dict[records.Arm, Arm]]:
    """Every arm at each share."""
    rows = connection.execute(_sums(trial, spec, slow_ms=slow_ms, now=now)).mappings()
    found = {(row["stage"], row["arm"]): row for row in rows}
    return [
        {arm: _arm(found.get((number, arm), {})) for arm in records.Arm}
        for number, _ in enumerate(trial.shares)
    ]


def _arm(row: Mapping[Any, Any]) -> Arm:
    measured = {name: _moments(row, name) for name in MEASURES}
    return Arm(**measured, not_finite=int(row.get("not_finite", 0)))


def _moments(row: Mapping[Any, Any], name: str) -> Moments:
    count, total, squares = (
        np.asarray(row.get(f"{name}_{kind}") or 0.0, dtype=np.float64)
        for kind in ("count", "total", "squares")
    )
    return Moments(count=count, total=total, squares=squares)


def _sums(trial: Trial, spec: RewardSpec, *, slow_ms: float | None, now: datetime) -> Select[Any]:
    """One row for each stage and arm: of each measure the number of units, their sum and that of the squares."""
    units = _units(trial, spec, slow_ms=slow_ms, now=now)
    return select(
        units.c.stage,
        units.c.arm,
        func.sum(units.c.not_finite).label("not_finite"),
        *(
            column
            for name in MEASURES
            for column in (
                func.count(units.c[name]).label(f"{name}_count"),
                func.sum(units.c[name]).label(f"{name}_total"),
                func.sum(units.c[name] * units.c[name]).label(f"{name}_squares"),
            )
        ),
    ).group_by(units.c.stage, units.c.arm)


def _units(trial: Trial, spec: RewardSpec, *, slow_ms: float | None, now: datetime) -> CTE:
    """A session's requests, else a single one, as one row of means."""
    requests = union_all(_answered(trial, spec, slow_ms=slow_ms, now=now), _failed(trial)).cte(
        "requests"
    )
    return (
        select(
            requests.c.stage,
            requests.c.arm,
            *(func.avg(requests.c[name]).label(name) for name in MEASURES),
            func.sum(requests.c.not_finite).label("not_finite"),
        )
        .group_by(requests.c.stage, requests.c.arm, requests.c.unit)
        .cte("units")
    )


def _answered(
    trial: Trial, spec: RewardSpec, *, slow_ms: float | None, now: datetime
) -> Select[Any]:
    last = (
        select(rewards.c.reward)
        .where(
            rewards.c.decision_id == decisions.c.decision_id,
            rewards.c.spec_id == spec.id,
            rewards.c.spec_version == spec.version,
        )
        .order_by(rewards.c.revision.desc())
        .limit(1)
        .lateral("last")
    )
    is_closed = decisions.c.decision_id < ids.earliest(now - timedelta(seconds=spec.wait_s))
    is_judged = and_(last.c.reward.is_not(None), ~quarantine.is_silenced(decisions.c.decision_id))
    slow = null() if slow_ms is None else cast(decisions.c.latency_ms > slow_ms, Integer)
    return (
        select(
            _stage(trial, decisions.c.epoch).label("stage"),
            decisions.c.arm,
            _unit(decisions.c.session_hash, decisions.c.decision_id).label("unit"),
            case((and_(is_closed, is_judged), last.c.reward)).label("reward"),
            case((is_closed, cast(is_judged, Integer))).label("coverage"),
            literal(0).label("errors"),
            cast(slow, Integer).label("slow"),
            literal(0).label("not_finite"),
        )
        .select_from(decisions)
        .outerjoin(last, literal(True))  # noqa: FBT003 -- SQL's ON true
        .where(
            decisions.c.line == trial.live.line,
            decisions.c.version.in_(trial.versions),
            decisions.c.epoch.in_(_all_epochs(trial)),
            decisions.c.decision_id >= ids.earliest(trial.began_at - CLOCKS),
        )
    )


def _failed(trial: Trial) -> Select[Any]:
    return select(
        _stage(trial, failures.c.epoch),
        failures.c.arm,
        _unit(failures.c.session_hash, failures.c.decision_id),
        null(),
        null(),
        literal(1),
        null(),
        cast(failures.c.error == NOT_FINITE, Integer),
    ).where(failures.c.line == trial.live.line, failures.c.epoch.in_(_all_epochs(trial)))


def _all_epochs(trial: Trial) -> list[int]:
    return [epoch for each in trial.shares for epoch in each.epochs]


def _stage(trial: Trial, epoch: ColumnElement[int]) -> ColumnElement[int]:
    """The place of an epoch's shares."""
    places = {epoch: number for number, each in enumerate(trial.shares) for epoch in each.epochs}
    return case(places, value=epoch)


def _unit(session_hash: ColumnElement[Any], decision_id: ColumnElement[Any]) -> ColumnElement[str]:
    return func.coalesce(func.encode(session_hash, "hex"), cast(decision_id, Text))
