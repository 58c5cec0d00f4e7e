"""A canary on trial: which epochs gave it which share, and what both arms have shown in them, as sums over units.

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
from trainer.canary import Arm, Stage
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
class Share:
    """Consecutive epochs in which the canary had one share; a freeze makes an epoch and changes nothing."""

    share: float
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A canary since it began beside this champion."""

    live: Live
    shares: tuple[Share, ...]
    """In order; the last one is the present."""
    began_at: datetime


def running(connection: Connection, live: Live) -> Trial:
    """The trial that this epoch belongs to."""
    epochs = connection.execute(_epochs(live)).all()
    return Trial(
        live=live,
        shares=tuple(
            Share(share=share, epochs=tuple(row.epoch for row in rows))
            for share, rows in groupby(epochs, key=lambda row: row.canary_share)
        ),
        began_at=epochs[0].created_at,
    )


def _epochs(live: Live) -> Select[Any]:
    """Since the last one that served other versions."""
    other = select(func.max(promotions.c.epoch)).where(
        promotions.c.line == live.line,
        or_(
            promotions.c.version != live.version,
            promotions.c.canary_version.is_distinct_from(live.canary_version),
        ),
    )
    return (
        select(promotions.c.epoch, promotions.c.canary_share, promotions.c.created_at)
        .where(
            promotions.c.line == live.line,
            promotions.c.epoch > func.coalesce(other.scalar_subquery(), 0),
        )
        .order_by(promotions.c.epoch)
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
    """Both arms at each share."""
    rows = connection.execute(_sums(trial, spec, slow_ms=slow_ms, now=now)).mappings()
    found = {(row["stage"], row["arm"]): row for row in rows}
    return tuple(
        Stage(
            share=each.share,
            canary=_arm(found.get((number, records.Arm.CANARY), {})),
            champion=_arm(found.get((number, records.Arm.CHAMPION), {})),
        )
        for number, each in enumerate(trial.shares)
    )


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
            decisions.c.version.in_([trial.live.version, trial.live.canary_version]),
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
    return [epoch for share in trial.shares for epoch in share.epochs]


def _stage(trial: Trial, epoch: ColumnElement[int]) -> ColumnElement[int]:
    """The place of an epoch's share."""
    places = {each: number for number, share in enumerate(trial.shares) for each in share.epochs}
    return case(places, value=epoch)


def _unit(session_hash: ColumnElement[Any], decision_id: ColumnElement[Any]) -> ColumnElement[str]:
    return func.coalesce(func.encode(session_hash, "hex"), cast(decision_id, Text))
