"""Sources that operators do not want heard: statements for both sides to execute.

Every change is a row, and the newest one of a source holds: nothing is ever taken out of the table.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Exists, Insert, Select, Subquery, and_, insert, or_, select
from sqlalchemy.dialects.postgresql import distinct_on

from contract.records import Source
from contract.tables import feedback, quarantines, replays

_SOURCE = (quarantines.c.tenant, quarantines.c.source_type, quarantines.c.source_id)


def newest(*, tenant: str, source: Source, source_id: str) -> Select[bool]:
    """Whether this source is in quarantine; no row where it never was."""
    return (
        select(quarantines.c.quarantined)
        .where(
            quarantines.c.tenant == tenant,
            quarantines.c.source_type == source.value,
            quarantines.c.source_id == source_id,
        )
        .order_by(quarantines.c.quarantine_id.desc())
        .limit(1)
    )


def change(**columns: object) -> Insert:
    """One more row, as stored."""
    return insert(quarantines).values(columns).returning(quarantines)


def silenced(decision_ids: Sequence[UUID]) -> Select[UUID]:
    """Ids of the feedback about these decisions that is not to be heard."""
    return _not_heard().where(feedback.c.decision_id.in_(decision_ids))


def is_silenced(decision_id: ColumnElement[UUID]) -> Exists:
    """Whether a source that is not to be heard spoke of a decision."""
    return _not_heard().where(feedback.c.decision_id == decision_id).exists()


def spoilt(decision_ids: Sequence[UUID]) -> Select[UUID]:
    """Ids of these decisions' replays that were judged by a source that is not to be heard."""
    held = _newest()
    rubric = replays.c.judge["rubric"]
    theirs = and_(
        held.c.tenant == replays.c.tenant,
        held.c.source_type == Source.LLM_JUDGE,
        held.c.source_id == rubric["id"].astext + "@" + rubric["version"].astext,
    )
    return (
        select(replays.c.replay_id)
        .join(held, theirs)
        .where(
            replays.c.decision_id.in_(decision_ids),
            held.c.quarantined,
            or_(held.c.since.is_(None), replays.c.done_at >= held.c.since),
        )
    )


def _newest() -> Subquery:
    """Of each source, what holds."""
    return (
        select(*_SOURCE, quarantines.c.quarantined, quarantines.c.since)
        .ext(distinct_on(*_SOURCE))
        .order_by(*_SOURCE, quarantines.c.quarantine_id.desc())
        .subquery("held")
    )


def _not_heard() -> Select[UUID]:
    """What counts is when it was received: a speaker may claim any time for what is said."""
    held = _newest()
    theirs = and_(
        held.c.tenant == feedback.c.tenant,
        held.c.source_type == feedback.c.source_type,
        held.c.source_id == feedback.c.source_id,
    )
    return (
        select(feedback.c.feedback_id)
        .join(held, theirs)
        .where(
            held.c.quarantined,
            or_(held.c.since.is_(None), feedback.c.received_at >= held.c.since),
        )
    )
