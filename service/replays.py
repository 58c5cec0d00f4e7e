"""The replays that wait: answers that the trainer asks to be made again, each leased to one judge at a time.

What was asked, who has it and what came of it is one row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract.model_tables import replays
from contract.replays import Purpose
from contract.tables import answers, decisions
from service.in_time import in_time
from service.lending import MAX_ATTEMPTS, TTL_S, UnknownLease, interval, pause_s, until
from service.schemas.judge import GivenBack
from service.schemas.replays import Replay, ReplayDocument, ReplayLease, ReplayResult
from service.texts import kept_bodies

HORIZON_S: Final = 86_400.0
"""What was asked before is not made any more: the round that wanted it is over."""
NOT_KEPT: Final = "the texts that it is made from are not kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """One tenant's answers that shall be made again."""

    engine: AsyncEngine
    tenant: str

    @in_time
    async def take(self, wanted: ReplayLease) -> list[Replay]:
        """At most n, pairs first, then oldest first, that are nobody else's until the lease expires."""
        taken: list[Replay] = []
        async with self.engine.begin() as connection:
            # Those that cannot be made end here, and the next ones take their place.
            while (left := wanted.n - len(taken)) and (
                waiting := await _waiting(connection, left, tenant=self.tenant)
            ):
                taken += await self._leased(connection, waiting)
        return taken

    @in_time
    async def end(self, lease_id: UUID, result: ReplayResult) -> None:
        """Keeps what came of it, for good; late, if nobody else has taken it since.  Raises `UnknownLease`."""
        said = {"value": result.value, "error": result.error, "judge": _judge(result)}
        await self._change(lease_id, {**said, **_ENDED})

    @in_time
    async def give_back(self, lease_id: UUID, given: GivenBack) -> None:
        """Lets another judge try, after a pause.  Raises `UnknownLease`."""
        attempts = replays.c.attempts if given.tried else replays.c.attempts - 1
        waits = {"attempts": attempts, "expires_at": until(pause_s(attempts))}
        await self._change(lease_id, {"lease_id": None, "error": given.error, **waits})

    async def _leased(
        self, connection: AsyncConnection, waiting: Sequence[Row[Any]]
    ) -> list[Replay]:
        """Those that can be made; the others have ended."""
        sources = await _sources(connection, waiting, tenant=self.tenant)
        needed = {row.replay_id: _needed(row, sources.get(row.decision_id)) for row in waiting}
        references = {source.reference_text for source in sources.values()}
        bodies = await kept_bodies(connection, references.union(*needed.values()))
        possible = [row for row in waiting if needed[row.replay_id] <= bodies.keys()]
        await _end_others(connection, waiting, possible)
        leases = await _lease(connection, [row.replay_id for row in possible])
        return [
            _replay(row, sources[row.decision_id], bodies, leases[row.replay_id])
            for row in possible
        ]

    async def _change(self, lease_id: UUID, values: Mapping[str, Any]) -> None:
        """Raises `UnknownLease`."""
        statement = (
            update(replays)
            .where(
                replays.c.lease_id == lease_id,
                replays.c.tenant == self.tenant,
                replays.c.done_at.is_(None),
            )
            .values(values)
            .returning(replays.c.replay_id)
        )
        async with self.engine.begin() as connection:
            if (await connection.execute(statement)).first() is None:
                raise UnknownLease("no such lease")


_ENDED: Final[Mapping[str, Any]] = {
    "done_at": func.clock_timestamp(),
    "done_xid": func.pg_current_xact_id(),
}


# Written out, not sent as a parameter: a plan for any parameter cannot use an index of some rows.
_A_PAIR: Final[ColumnElement[str]] = literal_column(f"'{Purpose.PAIR}'")
PAIRS: Final = replays.c.purpose == _A_PAIR
OTHERS: Final = replays.c.purpose != _A_PAIR


async def _waiting(connection: AsyncConnection, n: int, *, tenant: str) -> Sequence[Row[Any]]:
    """The first n, for us alone: those that another judge looks at are passed over."""
    # A round waits for its pairs.
    found = [*await connection.execute(_oldest(PAIRS, n, tenant=tenant))]
    if left := n - len(found):
        found += await connection.execute(_oldest(OTHERS, left, tenant=tenant))
    return found


def _oldest(which: ColumnElement[bool], n: int, *, tenant: str) -> Select[Any]:
    """In the order of their index, so that no more of them are read than are passed over or taken."""
    return (
        select(replays)
        .where(
            which,
            replays.c.tenant == tenant,
            replays.c.done_at.is_(None),
            replays.c.asked_at > func.now() - interval(HORIZON_S),
            replays.c.attempts < MAX_ATTEMPTS,
            or_(replays.c.expires_at.is_(None), replays.c.expires_at <= func.clock_timestamp()),
        )
        .order_by(replays.c.asked_at, replays.c.replay_id)
        .limit(n)
        .with_for_update(skip_locked=True)
    )


async def _sources(
    connection: AsyncConnection, waiting: Sequence[Row[Any]], *, tenant: str
) -> dict[UUID, Row[Any]]:
    """The decisions that are still there, each with the ids of its texts."""
    statement = _decisions({row.decision_id for row in waiting}, tenant=tenant)
    return {row.decision_id: row for row in await connection.execute(statement)}


def _decisions(decision_ids: Collection[UUID], *, tenant: str) -> Select[Any]:
    # Said of each table, or the planner reads all its partitions.
    answer = answers.c.decision_id.in_(decision_ids)
    return (
        select(
            decisions.c.decision_id,
            decisions.c.query_text,
            decisions.c.candidate_texts,
            answers.c.reference_text,
        )
        .outerjoin(answers, answer & (answers.c.decision_id == decisions.c.decision_id))
        .where(decisions.c.decision_id.in_(decision_ids), decisions.c.tenant == tenant)
    )


def _needed(row: Row[Any], source: Row[Any] | None) -> set[int | None]:
    """The texts without which it cannot be made; None among them where one was never there."""
    if source is None:
        return {None}
    candidates = dict(enumerate(source.candidate_texts))
    return {source.query_text, *(candidates.get(position) for position in _positions(row))}


def _positions(row: Row[Any]) -> list[int]:
    """In the request, of all that is read for it."""
    return sorted({*row.used, *(row.against or ())})


async def _end_others(
    connection: AsyncConnection, waiting: Sequence[Row[Any]], possible: Sequence[Row[Any]]
) -> None:
    others = {row.replay_id for row in waiting} - {row.replay_id for row in possible}
    if others:
        statement = update(replays).where(replays.c.replay_id.in_(others))
        await connection.execute(statement.values(error=NOT_KEPT, **_ENDED))


async def _lease(
    connection: AsyncConnection, replay_ids: Sequence[UUID]
) -> Mapping[UUID, Row[Any]]:
    statement = (
        update(replays)
        .where(replays.c.replay_id.in_(replay_ids))
        .values(
            lease_id=func.gen_random_uuid(),
            expires_at=until(TTL_S),
            attempts=replays.c.attempts + 1,
        )
        .returning(replays.c.replay_id, replays.c.lease_id, replays.c.attempts)
    )
    return {row.replay_id: row for row in await connection.execute(statement)}


def _replay(row: Row[Any], source: Row[Any], bodies: Mapping[int, str], lease: Row[Any]) -> Replay:
    return Replay(
        lease_id=lease.lease_id,
        replay_id=row.replay_id,
        decision_id=row.decision_id,
        purpose=row.purpose,
        query=bodies[source.query_text],
        documents=[
            ReplayDocument(index=position, text=bodies[source.candidate_texts[position]])
            for position in _positions(row)
        ],
        used=row.used,
        against=row.against,
        reference=bodies.get(source.reference_text) or None,
        expires_in_s=TTL_S,
        attempts_left=MAX_ATTEMPTS - lease.attempts,
    )


def _judge(result: ReplayResult) -> dict[str, Any] | None:
    """How the value came about, with what was said of it in words."""
    judge = {} if result.judge is None else result.judge.model_dump(mode="json")
    said = {} if result.rationale is None else {"rationale": result.rationale}
    return judge | said or None
