"""What is said of decisions: stored append-only, each statement once, whoever races to say it.

One statement and many take the same way: one transaction, committed before anybody hears of it. A statement that
cannot be stored is refused by itself, before it comes near the database.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract import ids
from contract.model_tables import judge_leases
from contract.records import Source
from contract.tables import feedback
from service import targets
from service.errors import HttpRefusal, Invalid, KeyReused
from service.in_time import in_time
from service.schemas import bodies
from service.schemas.feedback import Feedback, Kept
from service.targets import NotLandedYet, Target

Row: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Kept | HttpRefusal

MOST_BY_USERS: Final = 100
"""Statements about one decision, beyond which a feedback token opens nothing."""

_ONCE = ("decision_id", "source_type", "source_id", "idempotency_key")
_ID = ("decision_id", "feedback_id")
_IDENTITY = (*_ONCE, "feedback_id")


class EnoughSaid(HttpRefusal):
    """A browser's user has said so much of this decision that no more is taken from a feedback token."""

    status = 409


class UnknownFeedback(HttpRefusal):
    """There is no such feedback about this decision."""

    status = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A statement as it came."""

    body: Feedback
    key: str | None
    """Its Idempotency-Key; the statement's own id comes before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """One tenant's feedback."""

    engine: AsyncEngine
    tenant: str
    secret: bytes

    @in_time
    async def store(self, said: Sequence[Said]) -> list[Outcome]:
        """What became of each statement, in order."""
        decision_ids = {statement.body.decision_id for statement in said}
        async with self.engine.begin() as connection:
            landed = await targets.find(connection, decision_ids, tenant=self.tenant)
            there = await _there(connection, said, tenant=self.tenant)
            rows = [self._row_or_refusal(statement, landed, there) for statement in said]
            kept = iter(await _settle(connection, [row for row in rows if isinstance(row, dict)]))
        return [next(kept) if isinstance(row, dict) else row for row in rows]

    @in_time
    async def must_have_room(self, decision_id: UUID) -> None:
        """Raises `EnoughSaid`."""
        said = select(func.count()).where(
            feedback.c.decision_id == decision_id, feedback.c.source_type == Source.END_USER
        )
        async with self.engine.connect() as connection:
            if (await connection.scalar(said) or 0) >= MOST_BY_USERS:
                raise EnoughSaid(f"this decision has {MOST_BY_USERS} statements of users")

    @in_time
    async def retract(self, feedback_id: UUID, *, decision_id: UUID) -> Kept:
        """A tombstone: a statement of its own, which takes the other back.  Raises `UnknownFeedback`."""
        async with self.engine.begin() as connection:
            landed = await targets.find(connection, [decision_id], tenant=self.tenant)
            row = await self._tombstone(connection, feedback_id, decision_id)
            row |= _timing(landed.get(decision_id))
            (outcome,) = await _settle(connection, [row])
        if isinstance(outcome, HttpRefusal):
            raise outcome
        return outcome

    def _row_or_refusal(
        self, said: Said, landed: Mapping[UUID, Target], there: set[tuple[UUID, UUID]]
    ) -> Row | HttpRefusal:
        body = said.body
        target = landed.get(body.decision_id)
        try:
            if target is None:
                targets.must_be_coming(
                    body.decision_id, tenant=self.tenant, secret=self.secret, now=_now()
                )
            elif body.supersedes and (body.decision_id, body.supersedes) not in there:
                raise Invalid("supersedes: no such feedback about this decision")
            return self._row(said, target)
        except HttpRefusal as refusal:
            return refusal

    def _row(self, said: Said, target: Target | None) -> Row:
        body = said.body
        feedback_id = body.id or self._mint()
        return {
            "decision_id": body.decision_id,
            "feedback_id": feedback_id,
            "tenant": self.tenant,
            "document": _document(body, target),
            "name": body.name,
            **_value(body),
            "source_type": body.source.type.value,
            "source_id": body.source.id,
            "idempotency_key": str(body.id or said.key or feedback_id),
            "body_sha256": bodies.sha256(body),
            "supersedes": body.supersedes,
            "retracted": False,
            "rationale": body.rationale,
            "metadata": body.metadata,
            "judge": None if body.judge is None else body.judge.model_dump(mode="json"),
            "occurred_at": body.occurred_at or _now(),
            **_timing(target),
        }

    async def _tombstone(
        self, connection: AsyncConnection, feedback_id: UUID, decision_id: UUID
    ) -> Row:
        copied = ("decision_id", "tenant", "document", "name", "source_type", "source_id")
        statement = select(*(feedback.c[name] for name in copied)).where(
            feedback.c.decision_id == decision_id,
            feedback.c.feedback_id == feedback_id,
            feedback.c.tenant == self.tenant,
            ~feedback.c.retracted,
        )
        original = (await connection.execute(statement)).mappings().first()
        if original is None:
            raise UnknownFeedback("no such feedback about this decision")
        return {
            **original,
            "feedback_id": self._mint(),
            "idempotency_key": f"retract {feedback_id}",
            "body_sha256": hashlib.sha256(feedback_id.bytes).digest(),
            "supersedes": feedback_id,
            "retracted": True,
            "occurred_at": _now(),
        }

    def _mint(self) -> UUID:
        return ids.mint(self.tenant, secret=self.secret, now=_now())


async def _there(
    connection: AsyncConnection, said: Sequence[Said], *, tenant: str
) -> set[tuple[UUID, UUID]]:
    """The superseded statements that exist, those that come with the same batch included."""
    wanted = [(s.body.decision_id, s.body.supersedes) for s in said if s.body.supersedes]
    coming = {(s.body.decision_id, s.body.id) for s in said if s.body.id}
    if not wanted:
        return coming
    columns = tuple(feedback.c[name] for name in _ID)
    statement = select(*columns).where(tuple_(*columns).in_(wanted), feedback.c.tenant == tenant)
    found = await connection.execute(statement)
    return coming | {(row.decision_id, row.feedback_id) for row in found}


async def _settle(connection: AsyncConnection, rows: Sequence[Row]) -> list[Outcome]:
    """Stores the rows that are new and says of the others what they meet, in order."""
    inserted = await _insert(connection, rows)
    new: list[bool] = []
    for row in rows:
        identity = _key(row, _IDENTITY)
        new.append(identity in inserted)
        inserted.discard(identity)
    old = [row for row, is_new in zip(rows, new, strict=True) if not is_new]
    earlier = await _earlier(connection, old)
    await _acknowledge(connection, rows)
    return [
        _kept(row, _status(row)) if is_new else _met(row, earlier)
        for row, is_new in zip(rows, new, strict=True)
    ]


async def _insert(connection: AsyncConnection, rows: Sequence[Row]) -> set[tuple[Any, ...]]:
    """The identities of those that were new."""
    if not rows:
        return set()
    statement = (
        postgresql.insert(feedback)
        .on_conflict_do_nothing()
        .returning(*(feedback.c[name] for name in _IDENTITY))
    )
    # In one order for everybody, so that two batches with the same statements cannot deadlock.
    ordered = sorted(rows, key=lambda row: _key(row, _ONCE))
    return {tuple(row) for row in await connection.execute(statement, ordered)}


async def _earlier(
    connection: AsyncConnection, rows: Sequence[Row]
) -> Mapping[tuple[Any, ...], tuple[UUID, bytes]]:
    """Id and body of what these rows met, by either of its keys."""
    if not rows:
        return {}
    once = tuple_(*(feedback.c[name] for name in _ONCE))
    own = tuple_(*(feedback.c[name] for name in _ID))
    statement = select(*(feedback.c[name] for name in _IDENTITY), feedback.c.body_sha256).where(
        or_(
            once.in_([_key(row, _ONCE) for row in rows]),
            own.in_([_key(row, _ID) for row in rows]),
        )
    )
    met: dict[tuple[Any, ...], tuple[UUID, bytes]] = {}
    for found_row in (await connection.execute(statement)).mappings():
        row = dict(found_row)
        found = (row["feedback_id"], row["body_sha256"])
        met[_key(row, _ONCE)] = met[_key(row, _ID)] = found
    return met


async def _acknowledge(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """A judge's statement ends the lease of its task."""
    done = sorted(
        (row["decision_id"], rubric_name(row["judge"]["rubric"]))
        for row in rows
        if row["source_type"] == Source.LLM_JUDGE and row.get("judge")
    )
    if done:
        key = tuple_(judge_leases.c.decision_id, judge_leases.c.rubric)
        await connection.execute(delete(judge_leases).where(key.in_(done)))


def rubric_name(rubric: Mapping[str, str]) -> str:
    """How a rubric is known in the judge's queue."""
    return f"{rubric['id']}@{rubric['version']}"


def _met(row: Row, earlier: Mapping[tuple[Any, ...], tuple[UUID, bytes]]) -> Outcome:
    feedback_id, body_sha256 = earlier.get(_key(row, _ONCE)) or earlier[_key(row, _ID)]
    if body_sha256 != row["body_sha256"]:
        return KeyReused("this id or Idempotency-Key came before, with another body")
    return _kept(row | {"feedback_id": feedback_id}, "duplicate")


def _kept(row: Row, status: str) -> Kept:
    return Kept.model_validate({**{name: row[name] for name in _ID}, "status": status})


def _status(row: Row) -> str:
    return "pending" if row["pending"] else "late" if row["late"] else "stored"


def _timing(target: Target | None) -> Row:
    return {"pending": target is None, "late": target is not None and target.rewarded}


def _document(body: Feedback, target: Target | None) -> int | None:
    if body.document is None:
        return None
    if body.document.id is not None:
        if target is None:
            raise NotLandedYet("the decision is not stored yet; document.index needs no look at it")
        return target.position(body.document.id)
    if target is not None and body.document.index is not None:
        target.check(body.document.index, "document.index")
    return body.document.index


def _value(body: Feedback) -> Row:
    said: Row = {"value_type": None, "num_value": None, "str_value": None, "error": None}
    match body.value:
        case bool() as flag:
            said |= {"value_type": "boolean", "num_value": float(flag)}
        case float() as number:
            said |= {"value_type": "number", "num_value": number}
        case str() as word:
            said |= {"value_type": "string", "str_value": word}
        case _:
            said |= {"error": {"message": body.error}}
    return said


def _key(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _now() -> datetime:
    return datetime.now(UTC)
