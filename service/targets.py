"""The decisions that answers and feedback speak of, landed or on their way."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from contract import ids
from contract.tables import decisions, rewards
from service.errors import HttpRefusal, Invalid

LANDS_WITHIN: Final = timedelta(seconds=60)
"""Decisions are written in batches off the request path; one that has not landed by then never will."""


class UnknownDecision(HttpRefusal):
    """There is no such decision, and there will be none."""

    status = 404


class DecisionGone(HttpRefusal):
    """The id is one of ours, and its decision is no longer stored: purged, or lost before it was written."""

    status = 410


class NotLandedYet(HttpRefusal):
    """The decision is on its way, and this cannot be understood before it is there."""

    status = 409
    retry_after_s = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """As much of a decision as it takes to understand what is said of it."""

    candidates: int
    keys: Sequence[str | None]
    """The app's own ids of the documents, in request order; empty where it sent none."""
    shown: Sequence[int]
    rewarded: bool
    """Whether its reward was derived before."""

    def position(self, key: str) -> int:
        """Raises `Invalid`."""
        if key not in self.keys:
            raise Invalid("document.id: no document of this decision")
        return self.keys.index(key)

    def check(self, position: int, field: str) -> None:
        """Raises `Invalid`."""
        if position >= self.candidates:
            raise Invalid(f"{field}: the decision has {self.candidates} documents")


async def find(
    connection: AsyncConnection, decision_ids: Collection[UUID], *, tenant: str
) -> Mapping[UUID, Target]:
    """Those that have landed."""
    rewarded = select(1).where(rewards.c.decision_id == decisions.c.decision_id).exists()
    statement = select(
        decisions.c.decision_id,
        decisions.c.candidate_texts,
        decisions.c.candidate_keys,
        decisions.c.shown,
        rewarded.label("rewarded"),
    ).where(decisions.c.decision_id.in_(decision_ids), decisions.c.tenant == tenant)
    return {
        row.decision_id: Target(
            candidates=len(row.candidate_texts),
            keys=row.candidate_keys or (),
            shown=row.shown,
            rewarded=row.rewarded,
        )
        for row in await connection.execute(statement)
    }


def must_be_coming(decision_id: UUID, *, tenant: str, secret: bytes, now: datetime) -> None:
    """Raises `UnknownDecision` unless we minted this id for this tenant, `DecisionGone` unless a moment ago."""
    if not ids.is_ours(decision_id, tenant, secret=secret):
        raise UnknownDecision("no such decision")
    if now - ids.minted_at(decision_id) > LANDS_WITHIN:
        raise DecisionGone("this decision is no longer stored")
