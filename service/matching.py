"""Finds a decision by its content, for apps that cannot carry an id from the reranker to the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncEngine

from contract.ids import earliest
from contract.tables import answers, decisions, texts
from service.schemas.matching import Match, Matched
from service.targets import UnknownDecision
from service.texts import sha256

MOST: Final = 1_000
"""Decisions about one query that are looked at, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """One tenant's decisions, by what they were about."""

    engine: AsyncEngine
    tenant: str

    async def find(self, match: Match, *, decision_id: UUID | None = None) -> Matched:
        """The newest that showed all that was used, one without an answer first, or the one that is named.

        Raises `UnknownDecision`.
        """
        used = [_digest(each) for each in match.used]
        since = datetime.now(UTC) - timedelta(seconds=match.within_s)
        async with self.engine.connect() as connection:
            text_ids = {
                bytes(row.sha256): row.text_id
                for row in await connection.execute(self._texts([sha256(match.query), *used]))
            }
            query, wanted = text_ids.get(sha256(match.query)), [text_ids.get(each) for each in used]
            if query is None or None in wanted:
                raise _unknown()
            rows = (await connection.execute(self._about(query, since))).all()
        found = [
            (row, places)
            for row in rows
            if decision_id in {None, row.decision_id}
            and (places := _places(row, wanted)) is not None
        ]
        if not found:
            raise _unknown()
        row, places = min(
            found, key=lambda each: each[0].answered
        )  # stable: the newest of its kind
        return Matched(decision_id=row.decision_id, used=places, answered=row.answered)

    def _texts(self, digests: Sequence[bytes]) -> Select[Any]:
        return select(texts.c.text_id, texts.c.sha256).where(
            texts.c.tenant == self.tenant, texts.c.sha256.in_(digests)
        )

    def _about(self, query: int, since: datetime) -> Select[Any]:
        answered = select(1).where(answers.c.decision_id == decisions.c.decision_id).exists()
        return (
            select(
                decisions.c.decision_id,
                decisions.c.candidate_texts,
                decisions.c.shown,
                answered.label("answered"),
            )
            .where(
                decisions.c.tenant == self.tenant,
                decisions.c.query_text == query,
                decisions.c.decision_id >= earliest(since),
            )
            .order_by(decisions.c.decision_id.desc())
            .limit(MOST)
        )


def _digest(used: str) -> bytes:
    """Of a text, or the sha256 itself in hex."""
    try:
        digest = bytes.fromhex(used)
    except ValueError:
        return sha256(used)
    return digest if len(digest) == len(sha256("")) else sha256(used)


def _places(row: Any, wanted: Sequence[int | None]) -> list[int] | None:  # noqa: ANN401 -- a row
    """Request positions of the used texts, in their order; None where one of them was not shown."""
    position = {row.candidate_texts[index]: index for index in reversed(row.shown)}
    places = [position.get(text_id) for text_id in wanted if text_id is not None]
    return None if None in places else [place for place in places if place is not None]


def _unknown() -> UnknownDecision:
    return UnknownDecision("no decision about this query showed all of these texts in that time")
