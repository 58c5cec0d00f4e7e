"""Counts what passes through the loop, from decision to reward."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg.errors import QueryCanceled
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    select,
    true,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract import ids
from contract.tables import answers, decisions, feedback, rewards
from service.errors import HttpRefusal
from service.in_time import in_time
from service.schemas.flow import Flow

PROBE: Final = {"by": "rankloop doctor"}
"""The tags of a request that asks how the loop is, and is no part of it."""
PATIENCE_S: Final = 4.0
"""Of each of the two statements: the doctor waits for 10 s."""


class TooManyToCount(HttpRefusal):
    """Counting takes longer than a database that others need is kept busy for: look back less far."""

    status = 503
    retry_after_s = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """One tenant's."""

    engine: AsyncEngine
    tenant: str
    patience_s: float = PATIENCE_S

    @in_time
    async def of(self, line: str, *, within_s: float) -> Flow:
        """Raises `TooManyToCount`."""
        now = datetime.now(UTC)
        since = ids.earliest(now - timedelta(seconds=within_s))
        asked = and_(
            decisions.c.tenant == self.tenant,
            decisions.c.line == line,
            decisions.c.decision_id >= since,
            ~decisions.c.tags.contains(PROBE),
        )
        try:
            async with self.engine.begin() as connection:
                await self._limit(connection)
                counts = dict((await connection.execute(_counts(asked, since))).mappings().one())
                reasons = (await connection.execute(_reasons(asked))).all()
        except OperationalError as error:
            if isinstance(error.orig, QueryCanceled):
                raise TooManyToCount("counting takes too long: within_s has to be less") from error
            raise
        return Flow(
            line=line,
            within_s=within_s,
            oldest_age_s=_age_s(counts.pop("oldest"), now),
            not_learnable={row.not_learnable: row.decisions for row in reasons},
            **counts,
        )

    async def _limit(self, connection: AsyncConnection) -> None:
        """Of the statements of this transaction."""
        limit = f"{round(1000 * self.patience_s)}ms"
        await connection.execute(select(func.set_config("statement_timeout", limit, true())))


def _counts(asked: ColumnElement[bool], since: UUID) -> Select[*tuple[Any, ...]]:
    last, is_foreign = _last_reward(since), _is_no_prefix()
    is_rewarded = last.c.reward.is_not(None)
    conditions = {
        "explored": decisions.c.explored,
        "with_scores": decisions.c.first_stage_scores.is_not(None),
        "answered": answers.c.decision_id.is_not(None),
        "answered_with_text": answers.c.answer_text.is_not(None),
        "answered_with_citations": func.cardinality(answers.c.citations) > 0,
        "not_a_prefix": is_foreign,
        "spoken_of": select(1).where(_same(feedback.c.decision_id, since)).exists(),
        "rewarded": is_rewarded,
        "learnable": and_(is_rewarded, decisions.c.not_learnable.is_(None), ~is_foreign),
    }
    return (
        select(
            func.count().label("decisions"),
            func.count(decisions.c.query_text.distinct()).label("queries"),
            func.min(cast(decisions.c.decision_id, Text)).label("oldest"),
            *(
                func.count(case((condition, 1))).label(name)
                for name, condition in conditions.items()
            ),
        )
        .select_from(decisions)
        .outerjoin(answers, _same(answers.c.decision_id, since))
        .outerjoin(last, true())
        .where(asked)
    )


def _same(decision_id: Column[Any], since: UUID) -> ColumnElement[bool]:
    """Whether it speaks of the decision. The bound is said of each table, or the planner reads all its partitions."""
    return and_(decision_id == decisions.c.decision_id, decision_id >= since)


def _last_reward(since: UUID) -> FromClause:
    return (
        select(rewards.c.reward)
        .where(_same(rewards.c.decision_id, since))
        .order_by(rewards.c.revision.desc())
        .limit(1)
        .lateral("last_reward")
    )


def _is_no_prefix() -> ColumnElement[bool]:
    """An answer that came before its decision says what was used, be it a prefix or not."""
    used = answers.c.used
    return and_(used.is_not(None), used != decisions.c.shown[1 : func.cardinality(used)])


def _reasons(asked: ColumnElement[bool]) -> Select[Any]:
    return (
        select(decisions.c.not_learnable, func.count().label("decisions"))
        .where(asked, decisions.c.not_learnable.is_not(None))
        .group_by(decisions.c.not_learnable)
    )


def _age_s(oldest: str | None, now: datetime) -> float | None:
    return None if oldest is None else (now - ids.minted_at(UUID(oldest))).total_seconds()
