"""What the LLM did with a decision's documents: stored once, before or after the decision itself has landed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract.tables import answers
from service import targets, texts
from service.errors import HttpRefusal, Invalid
from service.in_time import in_time
from service.schemas import bodies
from service.schemas.answers import Answer
from service.settings import LogText
from service.targets import NotLandedYet, Target

LOOKS: Final = 40
LOOK_EVERY_S: Final = 0.05


class AnsweredOtherwise(HttpRefusal):
    """This decision was answered before, and not like this."""

    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Which documents went into the prompt."""

    k: int
    other: Sequence[int] | None = None
    """Their request positions, where they are not the first k shown, or nobody knows yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of an answer."""

    used: Used
    landed: bool
    """Whether its decision is stored too."""
    is_new: bool
    """Whether it was not stored before, just like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One tenant's answers."""

    engine: AsyncEngine
    tenant: str
    secret: bytes
    log_text: LogText

    @in_time
    async def store(self, decision_id: UUID, answer: Answer) -> Stored:
        """The same answer again changes nothing.  Raises `AnsweredOtherwise`, and what `targets` does."""
        target = await self._target(decision_id, answer)
        used = used_of(answer, target)
        async with self.engine.begin() as connection:
            is_new = await self._insert(connection, decision_id, answer, used)
            if not is_new:
                await self._must_be_the_same(connection, decision_id, answer)
        return Stored(used=used, landed=target is not None, is_new=is_new)

    async def _target(self, decision_id: UUID, answer: Answer) -> Target | None:
        """None while the decision is on its way, and nothing has to be looked up in it."""
        needed = answer.used_k is None and answer.used is None
        for _ in range(LOOKS if needed else 1):
            async with self.engine.connect() as connection:
                found = await targets.find(connection, [decision_id], tenant=self.tenant)
            if found:
                return found[decision_id]
            targets.must_be_coming(
                decision_id, tenant=self.tenant, secret=self.secret, now=datetime.now(UTC)
            )
            await asyncio.sleep(LOOK_EVERY_S if needed else 0)
        if needed:
            raise NotLandedYet(
                "the decision is not stored yet; an answer with used_k need not wait for it"
            )
        return None

    async def _insert(
        self, connection: AsyncConnection, decision_id: UUID, answer: Answer, used: Used
    ) -> bool:
        row: dict[str, Any] = {
            "decision_id": decision_id,
            "tenant": self.tenant,
            "used_k": used.k,
            "used": used.other,
            **await self._keep(connection, answer),
            "citations": answer.citations,
            "model": answer.model,
            "prompt_version": answer.prompt_version,
            "latency_ms": answer.latency_ms,
            "occurred_at": answer.occurred_at or datetime.now(UTC),
            "body_sha256": bodies.sha256(answer),
        }
        statement = postgresql.insert(answers).values(row).on_conflict_do_nothing()
        inserted = await connection.execute(statement.returning(answers.c.decision_id))
        return inserted.first() is not None

    async def _keep(self, connection: AsyncConnection, answer: Answer) -> dict[str, int]:
        """The ids of its texts by their column, where texts are kept at all."""
        said = {"answer_text": answer.text, "reference_text": answer.reference}
        given = {column: text for column, text in said.items() if text is not None}
        if not given or self.log_text is LogText.OFF:
            return {}
        # Both at once: `ids` has one order for all writers within a call, and none between two.
        kept = await texts.ids(
            connection,
            given.values(),
            tenant=self.tenant,
            keep_bodies=self.log_text is LogText.FULL,
        )
        return {column: kept[texts.sha256(text)] for column, text in given.items()}

    async def _must_be_the_same(
        self, connection: AsyncConnection, decision_id: UUID, answer: Answer
    ) -> None:
        stored = await connection.scalar(
            select(answers.c.body_sha256).where(
                answers.c.decision_id == decision_id, answers.c.tenant == self.tenant
            )
        )
        if stored != bodies.sha256(answer):
            raise AnsweredOtherwise("the decision was answered before, in another way")


def used_of(answer: Answer, target: Target | None) -> Used:
    """What the answer says was used.  Raises `Invalid` where the decision says it cannot be.

    target: None only where the answer says itself what was used; nothing is checked then.
    """
    if target is None:
        return Used(
            k=len(answer.used or ()) if answer.used_k is None else answer.used_k, other=answer.used
        )
    shown = list(target.shown)
    for position in [*(answer.used or ()), *(answer.citations or ())]:
        target.check(position, "used and citations")
    if answer.used is not None:
        prefix = answer.used == shown[: len(answer.used)]
        return Used(k=len(answer.used), other=None if prefix else answer.used)
    if answer.used_k is not None and answer.used_k > len(shown):
        raise Invalid(f"used_k: {len(shown)} documents were shown")
    return Used(k=len(shown) if answer.used_k is None else answer.used_k)
