"""Derives rewards: what the feedback of each decision amounts to, once its time to be judged is over.

What is due is decided by counting, not by a cursor: a decision is due while it has more rows of feedback than its last
revision was derived from. Feedback that commits late is therefore never missed. Revisions are only ever added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Select, func, literal, select, true
from sqlalchemy.dialects.postgresql import insert

from contract import ids
from contract.columns import as_xid
from contract.records import SHADOW, Feedback, Reward, Source
from contract.rewards import RewardSpec, reward
from contract.tables import decisions, feedback, reward_specs, rewards

BATCH: Final = 5_000
"""Decisions rewarded in one transaction."""


def registered(connection: Connection, spec: RewardSpec) -> RewardSpec:
    """The spec with the version under which it is stored; a spec that differs from all stored ones is a new version."""
    stored = _stored(connection, spec.id)
    added = _numbered(spec, stored)
    if added.version not in stored:
        connection.execute(
            insert(reward_specs).values(
                spec_id=added.id, version=added.version, definition=_as_json(added)
            )
        )
    return added


def numbered(connection: Connection, spec: RewardSpec) -> RewardSpec:
    """The same, and nothing is stored."""
    return _numbered(spec, _stored(connection, spec.id))


def newest(connection: Connection) -> RewardSpec:
    """The spec that a trainer stored last, else the built-in one."""
    statement = (
        select(reward_specs.c.definition)
        .order_by(reward_specs.c.created_at.desc(), reward_specs.c.version.desc())
        .limit(1)
    )
    definition = connection.execute(statement).scalar_one_or_none()
    return RewardSpec() if definition is None else _of_json(definition)


def named(connection: Connection, spec_id: str, version: int) -> RewardSpec:
    """The spec that is stored under that name, else the built-in one."""
    definition = _stored(connection, spec_id).get(version)
    return RewardSpec() if definition is None else _of_json(definition)


def derive(connection: Connection, spec: RewardSpec, *, line: str, now: datetime) -> int:
    """Adds a revision for each decision that is due, at most `BATCH` of them.  Returns how many."""
    due = connection.execute(_due(spec, line=line, now=now)).mappings().all()
    if not due:
        return 0
    said = feedback_of(connection, [row["decision_id"] for row in due])
    connection.execute(
        insert(rewards).on_conflict_do_nothing(),
        [
            _revision(row, reward(spec, said[row["decision_id"]]), spec=spec, line=line)
            for row in due
        ],
    )
    return len(due)


def _stored(connection: Connection, spec_id: str) -> Mapping[int, Any]:
    """Definitions by version."""
    statement = (
        select(reward_specs.c.version, reward_specs.c.definition)
        .where(reward_specs.c.spec_id == spec_id)
        .order_by(reward_specs.c.version)
    )
    return {row.version: row.definition for row in connection.execute(statement)}


def _numbered(spec: RewardSpec, stored: Mapping[int, Any]) -> RewardSpec:
    known = (replace(spec, version=version) for version in stored)
    same = (each for each in known if stored[each.version] == _as_json(each))
    return next(same, replace(spec, version=max(stored, default=0) + 1))


def _as_json(spec: RewardSpec) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in spec.definition().items()
    }


def _of_json(definition: Mapping[str, Any]) -> RewardSpec:
    listed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in definition.items()
    }
    return RewardSpec(**{**listed, "sources": tuple(map(Source, definition["sources"]))})


def _due(spec: RewardSpec, *, line: str, now: datetime) -> Select[Any]:
    """Decisions of the line that are old enough, and about which more was said than we know.

    It starts from what was said: most decisions are never judged.
    """
    last = (
        select(rewards.c.revision, rewards.c.feedback_count)
        .where(
            rewards.c.decision_id == decisions.c.decision_id,
            rewards.c.spec_id == spec.id,
            rewards.c.spec_version == spec.version,
        )
        .order_by(rewards.c.revision.desc())
        .limit(1)
        .lateral("last")
    )
    since = ids.earliest(now - timedelta(seconds=spec.reopen_s))
    until = ids.earliest(now - timedelta(seconds=spec.wait_s))
    count = (
        select(feedback.c.decision_id, func.count().label("rows"))
        .where(feedback.c.decision_id >= since, feedback.c.decision_id < until)
        .group_by(feedback.c.decision_id)
        .subquery("said")
    )
    return (
        select(
            decisions.c.decision_id,
            decisions.c.tenant,
            func.cardinality(decisions.c.candidate_texts).label("candidates"),
            func.coalesce(last.c.revision, 0).label("revision"),
        )
        .select_from(decisions)
        .join(count, count.c.decision_id == decisions.c.decision_id)
        .outerjoin(last, literal(True))  # noqa: FBT003 -- SQL's ON true
        .where(
            decisions.c.line == line,
            decisions.c.decision_id >= since,
            decisions.c.decision_id < until,
            count.c.rows > func.coalesce(last.c.feedback_count, 0),
        )
        .order_by(decisions.c.decision_id)
        .limit(BATCH)
    )


def feedback_of(
    connection: Connection, decision_ids: Sequence[UUID], *, before: int | None = None
) -> Mapping[UUID, list[Feedback]]:
    """By decision; those that nobody spoke of are absent.

    before: the transaction from which on nothing is read; None reads all.
    """
    in_time = true() if before is None else feedback.c.xid < as_xid(before)
    statement = (
        select(feedback)
        .where(feedback.c.decision_id.in_(decision_ids), in_time)
        .order_by(feedback.c.decision_id, feedback.c.feedback_id)
    )
    rows = connection.execute(statement).mappings()
    return {
        decision_id: [_record(row) for row in group]
        for decision_id, group in groupby(rows, key=lambda row: row["decision_id"])
    }


def _record(row: Mapping[Any, Any]) -> Feedback:
    judge = row["judge"] or {}
    return Feedback(
        id=row["feedback_id"],
        decision_id=row["decision_id"],
        name=row["name"],
        value=row["num_value"],
        source=Source(row["source_type"]),
        source_id=row["source_id"],
        occurred_at=row["occurred_at"],
        document=row["document"],
        supersedes=row["supersedes"],
        retracted=row["retracted"],
        judge=_judge(row),
        observation=judge.get("sampling_probability") or 1.0,
        shadow=SHADOW in judge.get("flags", ()),
    )


def _judge(row: Mapping[Any, Any]) -> str | None:
    """Rubric and LLM where they were told, else who judged."""
    if row["source_type"] != Source.LLM_JUDGE:
        return None
    if row["judge"] is None:
        return str(row["source_id"])
    rubric = row["judge"]["rubric"]
    parts = [f"{rubric['id']}@{rubric['version']}", rubric.get("sha256")]
    parts += [row["judge"].get(name) for name in ("provider", "model")]
    return " ".join(part for part in parts if part)


def _revision(
    row: Mapping[Any, Any], derived: Reward, *, spec: RewardSpec, line: str
) -> dict[str, Any]:
    return {
        "decision_id": row["decision_id"],
        "spec_id": spec.id,
        "spec_version": spec.version,
        "revision": row["revision"] + 1,
        "tenant": row["tenant"],
        "line": line,
        **columns(derived, candidates=row["candidates"]),
    }


def columns(derived: Reward, *, candidates: int) -> dict[str, Any]:
    """What a revision says of the reward."""
    credit = [derived.credits.get(position) for position in range(candidates)]
    return {
        "reward": derived.value,
        "feedback_count": derived.feedback_count,
        "credits": credit if any(value is not None for value in credit) else None,
        "observation": derived.observation,
    }
