"""Who may say what is live, and what is: statements for both sides to execute. Postgres decides.

held = connection.execute(publication.take_lease(line, holder=holder, ttl=ttl)).scalar_one()
connection.execute(publication.register_version(...))
connection.execute(publication.promote(live.then(version), token=held, ...))
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Insert,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    false,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from contract.pointer import Live
from contract.refusals import Refusal
from contract.tables import leases, model_versions, promotions, training_runs


class Action(StrEnum):
    """What a new epoch changes."""

    INIT = "init"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    CANARY = "canary"
    HOLD_BACK = "hold_back"
    REBUILD = "rebuild"


class LeaseMissing(Refusal):
    """Nobody holds the lease of this line, so nobody may publish to it."""


class TokenStale(Refusal):
    """Somebody else took the lease of this line since; what we know may be old."""


class EpochMoved(Refusal):
    """Somebody published to this line since we looked."""


class AppendOnly(Refusal):
    """What was said, counted or published once is never changed; a correction is a new row."""


_REFUSALS: Final[Mapping[str, type[Refusal]]] = {
    "RL001": LeaseMissing,
    "RL002": TokenStale,
    "RL003": EpochMoved,
    "RL004": AppendOnly,
}
"""By the SQLSTATE that our triggers raise."""


def take_lease(
    line: str, *, holder: str, ttl: timedelta, force: bool = False
) -> Select[int | None]:
    """Take or renew the line's lease: the fencing token, or NULL while somebody else holds it.

    `holder` is random for each process. `force` is for an operator: it makes the holder's token stale.
    """
    interval = bindparam("ttl", ttl, type_=postgresql.INTERVAL())
    return select(func.take_lease(lease_name(line), holder, interval, force))


def release_lease(line: str, *, holder: str) -> Update:
    """Let the next one in at once; the token stays, so that ours is stale as soon as they take it."""
    return (
        update(leases)
        .where(leases.c.name == lease_name(line), leases.c.holder == holder)
        .values(expires_at=func.clock_timestamp())
    )


def register_version(
    version: str,
    *,
    line: str,
    base: str,
    uri: str,
    manifest: Mapping[str, Any],
    parent: str | None = None,
    run_id: UUID | None = None,
) -> Insert:
    """Make a version known; registering it again changes nothing, as its name is the hash of its manifest."""
    return (
        postgresql.insert(model_versions)
        .values(
            version=version,
            line=line,
            base=base,
            uri=uri,
            manifest=dict(manifest),
            parent=parent,
            run_id=run_id,
        )
        .on_conflict_do_nothing(index_elements=["version"])
    )


def mark_version(version: str, *, status: str) -> Update:
    """Note what became of a version; what is live is said by `promotions` alone."""
    return update(model_versions).where(model_versions.c.version == version).values(status=status)


def promote(
    then: Live,
    *,
    token: int,
    actor: str,
    reason: str,
    action: Action = Action.PROMOTE,
    run_id: UUID | None = None,
    evaluation_id: UUID | None = None,
) -> Insert:
    """Make this live, as the epoch after the one before it (0 before the first one).

    The database raises when the token is stale, when there is no lease or when the epoch moved: see `refusal_in`.
    """
    return insert(promotions).values(
        **asdict(then),
        previous_epoch=then.epoch - 1,
        action=action,
        actor=actor,
        reason=reason,
        run_id=run_id,
        evaluation_id=evaluation_id,
        fencing_token=token,
    )


def live(line: str) -> Select[Any]:
    """What the line serves: the promotion with the highest epoch, joined with its version. No row before the first."""
    return (
        select(
            *(promotions.c[each.name] for each in fields(Live)),
            *(promotions.c[name] for name in ("action", "actor", "reason", "created_at")),
            *(model_versions.c[name] for name in ("parent", "base", "uri", "manifest")),
        )
        .join(model_versions, model_versions.c.version == promotions.c.version)
        .where(promotions.c.line == line)
        .order_by(promotions.c.epoch.desc())
        .limit(1)
    )


def pointer(row: Row[Any]) -> Live:
    """What such a row of `promotions` makes live."""
    return Live(**{each.name: getattr(row, each.name) for each in fields(Live)})


def is_frozen(line: str) -> Select[bool]:
    """Whether an operator has stopped the trainer of this line, whatever else was published since."""
    last = (
        select(promotions.c.action)
        .where(
            promotions.c.line == line,
            promotions.c.action.in_([Action.FREEZE, Action.UNFREEZE]),
        )
        .order_by(promotions.c.epoch.desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(func.coalesce(last == Action.FREEZE, false()))


def base(line: str) -> Select[str]:
    """The version that the line began with; no row before it."""
    return (
        select(promotions.c.version)
        .where(promotions.c.line == line)
        .order_by(promotions.c.epoch)
        .limit(1)
    )


def is_rebuilding(line: str) -> Select[bool]:
    """Whether the base serves because an operator asked to learn anew from it, and no round has begun since."""
    asked = select(func.max(promotions.c.epoch)).where(
        promotions.c.line == line, promotions.c.action == Action.REBUILD
    )
    since = select(promotions.c.created_at).where(
        promotions.c.line == line, promotions.c.epoch == asked.scalar_subquery()
    )
    changed = select(promotions.c.epoch).where(
        promotions.c.line == line,
        promotions.c.epoch > asked.scalar_subquery(),
        promotions.c.action.not_in([Action.FREEZE, Action.UNFREEZE, Action.HOLD_BACK]),
    )
    begun = select(training_runs.c.run_id).where(
        training_runs.c.line == line, training_runs.c.started_at >= since.scalar_subquery()
    )
    return select(and_(asked.scalar_subquery().is_not(None), ~changed.exists(), ~begun.exists()))


def lease_name(line: str) -> str:
    """The name under which `guard_promotion` looks for the line's lease."""
    return f"line:{line}"


def refusal_in(error: DBAPIError) -> Refusal | None:
    """The refusal that the database raised, or None where the error is something else."""
    kind = _REFUSALS.get(getattr(error.orig, "sqlstate", None) or "")
    return None if kind is None else kind(str(error.orig).splitlines()[0])
