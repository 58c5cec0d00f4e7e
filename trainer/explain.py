"""Why a decision has the reward that it has: which statements counted, which did not, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import Connection, select

from contract import ids, rewards
from contract.records import Feedback, Reward
from contract.refusals import Refusal
from contract.rewards import RewardSpec
from contract.tables import decisions, feedback
from contract.tables import rewards as revisions
from trainer.rewards import feedback_of


class NoSuchDecision(Refusal):
    """No decision with this id is stored."""


class Fate(StrEnum):
    """What became of one statement."""

    COUNTS = "counts"
    TOMBSTONE = "a tombstone: it takes another statement back"
    REPLACED = "a later statement supersedes it or takes it back"
    SHADOW = "in shadow: stored to be seen, and no reward is made of it"
    NO_NUMBER = "an error or a text: unobserved, not zero"
    LATE = "came when the decision was closed to feedback"
    UNKNOWN_NAME = "the spec asks for no such name"
    UNKNOWN_SOURCE = "the spec believes no such source"
    EARLIER_JUDGE = "a newer version of the judge spoke, and versions are never mixed"
    LESS_TRUSTED = "a source that is trusted more spoke"
    SYNONYM = "a name that comes before it in the spec was used"
    OLDER = "a later statement of the same source counts"
    NOTHING_TO_MULTIPLY = "a multiplier, and there is no reward to multiply"


Statement: TypeAlias = tuple[Feedback, datetime]
"""With the time at which it was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One decision's reward under one spec."""

    decision_id: UUID
    line: str
    spec: RewardSpec
    window_closes_at: datetime
    """Before it, no reward is derived."""
    reopens_until: datetime
    """After it, no feedback is heard."""
    statements: tuple[tuple[Feedback, Fate], ...]
    """In the order in which they were stored."""
    reward: Reward
    """What the statements that count amount to."""
    stored: float | None
    """The last revision that was derived."""
    revision: int | None
    """Its number; None where nothing was derived yet."""


def explain(connection: Connection, decision_id: UUID, *, spec: RewardSpec) -> Explanation:
    """Raises `NoSuchDecision`."""
    line = connection.scalar(select(decisions.c.line).where(decisions.c.decision_id == decision_id))
    if line is None:
        raise NoSuchDecision(f"no decision {decision_id} is stored")
    minted = ids.minted_at(decision_id)
    until = minted + timedelta(seconds=spec.reopen_s)
    said = _statements(connection, decision_id)
    number, value = _last(connection, decision_id, spec)
    return Explanation(
        decision_id=decision_id,
        line=line,
        spec=spec,
        window_closes_at=minted + timedelta(seconds=spec.wait_s),
        reopens_until=until,
        statements=fates(spec, said, until=until),
        reward=rewards.reward(spec, [row for row, stored_at in said if stored_at < until]),
        stored=value,
        revision=number,
    )


def fates(
    spec: RewardSpec, said: Sequence[Statement], *, until: datetime
) -> tuple[tuple[Feedback, Fate], ...]:
    """What became of each statement; what was stored at `until` or later is not heard."""
    in_time = [row for row, stored_at in said if stored_at < until]
    standing = rewards.standing(in_time)
    believed = rewards.of_newest_judge(standing)
    return tuple(
        (row, _unheard(spec, row, in_time, standing, believed) or _heard(spec, row, believed))
        for row, _ in said
    )


def _unheard(
    spec: RewardSpec,
    row: Feedback,
    in_time: Sequence[Feedback],
    standing: Sequence[Feedback],
    believed: Sequence[Feedback],
) -> Fate | None:
    """Why it says nothing at all; the first reason that applies."""
    reward_names = (*spec.names, *spec.multipliers)
    reasons = {
        Fate.LATE: row not in in_time,
        Fate.TOMBSTONE: row.retracted,
        Fate.SHADOW: row.shadow,
        Fate.NO_NUMBER: row.value is None,
        Fate.REPLACED: row not in standing,
        Fate.UNKNOWN_NAME: row.name
        not in (reward_names if row.document is None else spec.document_names),
        Fate.UNKNOWN_SOURCE: row.source not in spec.sources,
        Fate.EARLIER_JUDGE: row not in believed,
    }
    return next((fate for fate, applies in reasons.items() if applies), None)


def _heard(spec: RewardSpec, row: Feedback, believed: Sequence[Feedback]) -> Fate:
    """Whether it decides, among all that say something."""
    heard = rewards.heard(spec, believed, row.name, row.document)
    if row not in heard:
        return Fate.OLDER if heard[0].source is row.source else Fate.LESS_TRUSTED
    base = rewards.base_name(spec, believed)
    if row.document is None and row.name in spec.multipliers:
        return Fate.NOTHING_TO_MULTIPLY if base is None else Fate.COUNTS
    wanted = base if row.document is None else rewards.credit_names(spec, believed)[row.document]
    return Fate.COUNTS if row.name == wanted else Fate.SYNONYM


def _statements(connection: Connection, decision_id: UUID) -> list[Statement]:
    times = select(feedback.c.feedback_id, feedback.c.received_at).where(
        feedback.c.decision_id == decision_id
    )
    stored = {row.feedback_id: row.received_at for row in connection.execute(times)}
    said = feedback_of(connection, [decision_id]).get(decision_id, [])
    return sorted(((row, stored[row.id]) for row in said), key=lambda each: (each[1], each[0].id))


def _last(
    connection: Connection, decision_id: UUID, spec: RewardSpec
) -> tuple[int | None, float | None]:
    statement = (
        select(revisions.c.revision, revisions.c.reward)
        .where(
            revisions.c.decision_id == decision_id,
            revisions.c.spec_id == spec.id,
            revisions.c.spec_version == spec.version,
        )
        .order_by(revisions.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return (None, None) if row is None else (row.revision, row.reward)
