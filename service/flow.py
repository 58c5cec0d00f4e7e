"""Counts what passes through the loop, from decision to reward."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Executable,
    ScalarSelect,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import ids
from contract.tables import answers, decisions, feedback, rewards
from service.schemas.flow import Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """One tenant's."""

    engine: AsyncEngine
    tenant: str

    async def of(self, line: str, *, within_s: float) -> Flow:
        now = datetime.now(UTC)
        asked = and_(
            decisions.c.tenant == self.tenant,
            decisions.c.line == line,
            decisions.c.decision_id >= ids.earliest(now - timedelta(seconds=within_s)),
        )
        async with self.engine.connect() as connection:
            counts = dict((await connection.execute(_counts(asked))).mappings().one())
            reasons = (await connection.execute(_reasons(asked))).all()
        return Flow(
            line=line,
            within_s=within_s,
            oldest_age_s=_age_s(counts.pop("oldest"), now),
            not_learnable={row.not_learnable: row.decisions for row in reasons},
            **counts,
        )


def _counts(asked: ColumnElement[bool]) -> Executable:
    is_rewarded = _last_reward().is_not(None)
    is_foreign = answers.c.used.is_not(None)
    conditions = {
        "explored": decisions.c.explored,
        "with_scores": decisions.c.first_stage_scores.is_not(None),
        "answered": answers.c.decision_id.is_not(None),
        "answered_with_text": answers.c.answer_text.is_not(None),
        "answered_with_citations": func.cardinality(answers.c.citations) > 0,
        "not_a_prefix": is_foreign,
        "spoken_of": select(1).where(feedback.c.decision_id == decisions.c.decision_id).exists(),
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
        .select_from(decisions.outerjoin(answers, answers.c.decision_id == decisions.c.decision_id))
        .where(asked)
    )


def _last_reward() -> ScalarSelect[float | None]:
    return (
        select(rewards.c.reward)
        .where(rewards.c.decision_id == decisions.c.decision_id)
        .order_by(rewards.c.revision.desc())
        .limit(1)
        .scalar_subquery()
    )


def _reasons(asked: ColumnElement[bool]) -> Select[Any]:
    return (
        select(decisions.c.not_learnable, func.count().label("decisions"))
        .where(asked, decisions.c.not_learnable.is_not(None))
        .group_by(decisions.c.not_learnable)
    )


def _age_s(oldest: str | None, now: datetime) -> float | None:
    return None if oldest is None else (now - ids.minted_at(UUID(oldest))).total_seconds()
