"""The judge's queue: answers without a verdict, each leased to one judge at a time.

There is no queue table to keep in step: what waits is what was answered and not yet judged. A lease is a row only
until the verdict arrives; one that was given back or ran out is taken again, a few times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Exists, Row, Select, cast, exists, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract.model_tables import judge_leases
from contract.records import Source
from contract.tables import answers, decisions, feedback, texts
from service import sampling
from service.feedback import rubric_name
from service.in_time import in_time
from service.lending import MAX_ATTEMPTS, TTL_S, UnknownLease, interval, pause_s, until
from service.schemas.judge import GivenBack, Lease, Task, UsedDocument
from service.texts import kept_bodies

HORIZON_S: Final = 86_400.0
"""Answers that settled before are not judged any more: their rewards were derived long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """One tenant's answers that wait for a judge."""

    engine: AsyncEngine
    tenant: str

    @in_time
    async def take(self, wanted: Lease) -> list[Task]:
        """At most n answers, oldest first, that are nobody else's until the lease expires."""
        async with self.engine.begin() as connection:
            waiting = (await connection.execute(_waiting(self.tenant, wanted))).all()
            leased = await _lease(connection, waiting, rubric_name(wanted.rubric.model_dump()))
            return await _tasks(connection, leased)

    @in_time
    async def give_back(self, lease_id: UUID, given: GivenBack) -> None:
        """Lets another judge try, after a pause.  Raises `UnknownLease`."""
        attempts = judge_leases.c.attempts
        spent = attempts if given.tried else func.greatest(attempts - 1, 1)
        own = select(1).where(
            answers.c.decision_id == judge_leases.c.decision_id, answers.c.tenant == self.tenant
        )
        statement = (
            update(judge_leases)
            .where(judge_leases.c.lease_id == lease_id, own.exists())
            .values(attempts=spent, expires_at=until(pause_s(spent)), error=given.error)
            .returning(judge_leases.c.lease_id)
        )
        async with self.engine.begin() as connection:
            if (await connection.execute(statement)).first() is None:
                raise UnknownLease("no such lease")


def _waiting(tenant: str, wanted: Lease) -> Select[UUID, float]:
    """Answers that are drawn, and how likely that was; their decision is there and their verdict is not.

    Rows that another judge looks at are passed over.
    """
    rubric = wanted.rubric.model_dump()
    probability = sampling.probability(wanted.sampling)
    draw = sampling.draw(rubric_name(rubric))
    since = func.uuid7_floor(func.now() - interval(HORIZON_S + wanted.settle_s))
    return (
        select(answers.c.decision_id, probability.label("probability"))
        .join(
            decisions,
            (decisions.c.decision_id == answers.c.decision_id)
            & (decisions.c.tenant == answers.c.tenant),
        )
        .join(texts, texts.c.text_id == answers.c.answer_text)
        .where(
            answers.c.tenant == tenant,
            # Said of each table, or the planner reads all its partitions.
            answers.c.decision_id >= since,
            decisions.c.decision_id >= since,
            answers.c.received_at <= func.clock_timestamp() - interval(wanted.settle_s),
            # It follows from the next one, and needs no decision.
            draw < sampling.highest(wanted.sampling),
            draw < probability,
            texts.c.body.is_not(None),
            ~_judged(rubric, since),
            ~_taken(rubric),
        )
        .order_by(answers.c.decision_id)
        .limit(wanted.n)
        .with_for_update(of=answers, skip_locked=True)
    )


def _judged(rubric: dict[str, str], since: ColumnElement[UUID]) -> Exists:
    return exists().where(
        feedback.c.decision_id == answers.c.decision_id,
        feedback.c.decision_id >= since,
        feedback.c.source_type == Source.LLM_JUDGE,
        feedback.c.judge.contains(cast({"rubric": rubric}, JSONB)),
    )


def _taken(rubric: dict[str, str]) -> Exists:
    """By another judge, or too often."""
    return exists().where(
        judge_leases.c.decision_id == answers.c.decision_id,
        judge_leases.c.rubric == rubric_name(rubric),
        (judge_leases.c.expires_at > func.clock_timestamp())
        | (judge_leases.c.attempts >= MAX_ATTEMPTS),
    )


async def _lease(
    connection: AsyncConnection, waiting: Sequence[Row[UUID, float]], rubric: str
) -> dict[UUID, Row[Any]]:
    """The leases that became ours, by decision; whoever was faster keeps theirs."""
    if not waiting:
        return {}
    insert = postgresql.insert(judge_leases).values(
        [
            {
                "decision_id": decision_id,
                "rubric": rubric,
                "lease_id": uuid4(),
                "expires_at": until(TTL_S),
                "sampling_probability": probability,
            }
            for decision_id, probability in waiting
        ]
    )
    statement = insert.on_conflict_do_update(
        index_elements=["decision_id", "rubric"],
        set_={
            "lease_id": insert.excluded.lease_id,
            "expires_at": insert.excluded.expires_at,
            "attempts": judge_leases.c.attempts + 1,
            "sampling_probability": insert.excluded.sampling_probability,
        },
        where=judge_leases.c.expires_at <= func.clock_timestamp(),
    )
    leased = await connection.execute(statement.returning(judge_leases))
    return {row.decision_id: row for row in leased}


async def _tasks(connection: AsyncConnection, leased: dict[UUID, Row[Any]]) -> list[Task]:
    """What a judge has to read, in the order of the decisions."""
    rows = (await connection.execute(_read(list(leased)))).all()
    said = {text for row in rows for text in (row.query_text, row.answer_text, row.reference_text)}
    used = {row.candidate_texts[position] for row in rows for position in _used(row)}
    kept = await kept_bodies(connection, said | used)
    return [
        Task(
            lease_id=leased[row.decision_id].lease_id,
            decision_id=row.decision_id,
            query=kept.get(row.query_text),
            documents=[
                UsedDocument(index=position, text=kept.get(row.candidate_texts[position]))
                for position in _used(row)
            ],
            answer=kept.get(row.answer_text, ""),
            reference=kept.get(row.reference_text) or None,
            sampling_probability=leased[row.decision_id].sampling_probability,
            expires_in_s=TTL_S,
            attempts_left=MAX_ATTEMPTS - leased[row.decision_id].attempts,
        )
        for row in rows
    ]


def _read(decision_ids: Sequence[UUID]) -> Select[Any]:
    return (
        select(
            decisions.c.decision_id,
            decisions.c.query_text,
            decisions.c.candidate_texts,
            decisions.c.shown,
            answers.c.used_k,
            answers.c.used,
            answers.c.answer_text,
            answers.c.reference_text,
        )
        .join(answers, answers.c.decision_id == decisions.c.decision_id)
        .where(decisions.c.decision_id.in_(decision_ids))
        .order_by(decisions.c.decision_id)
    )


def _used(row: Row[Any]) -> list[int]:
    """Request positions, in the order of the prompt; an answer that came early may name some that do not exist."""
    used: list[int] = row.shown[: row.used_k] if row.used is None else row.used
    return [position for position in used if position < len(row.candidate_texts)]
