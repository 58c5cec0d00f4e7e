"""Finds decisions by their content, for apps and traces that cannot carry an id from the reranker to the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Row,
    Select,
    SmallInteger,
    Subquery,
    and_,
    bindparam,
    column,
    false,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import ids
from contract.tables import answers, decisions, texts
from service.in_time import in_time
from service.schemas.matching import Match, Matched
from service.targets import UnknownDecision
from service.texts import sha256

MOST: Final = 1_000
"""Decisions about one query that are looked at, newest first."""
FEW: Final = 20
"""Of those that fit, as many are told apart."""
SLACK: Final = timedelta(seconds=1)
"""How far the clock of an app may be behind ours."""
MOMENT: Final = timedelta(milliseconds=1)
"""What ids tell apart."""
ANSWERED: Final = select(1).where(answers.c.decision_id == decisions.c.decision_id).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A decision that showed all that was used."""

    decision_id: UUID
    places: tuple[int, ...]
    """Request positions of the used texts, in their order."""
    in_order: bool
    """Whether they were shown in the order in which they were used."""
    second_choice: bool
    """Whether it comes after all that are not."""

    @property
    def made_at(self) -> datetime:
        return ids.minted_at(self.decision_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """One tenant's decisions, by what they were about."""

    engine: AsyncEngine
    tenant: str

    async def find(self, match: Match) -> Matched:
        """The newest that showed all that was used, one without an answer first.  Raises `UnknownDecision`."""
        since = datetime.now(UTC) - timedelta(seconds=match.within_s)
        made = decisions.c.decision_id >= ids.earliest(since)
        fits = await self._fits(match, made, second_choice=ANSWERED)
        if not fits:
            raise UnknownDecision(
                "no decision about this query showed all of these texts in that time"
            )
        fit = fits[0]
        return Matched(
            decision_id=fit.decision_id, used=list(fit.places), answered=fit.second_choice
        )

    async def during(self, match: Match, *, began: datetime, ended: datetime) -> list[Fit]:
        """Those made while a call lasted that began and ended then, newest first, and then those of a moment later."""
        since = max(began, datetime.now(UTC) - timedelta(seconds=match.within_s))
        made = and_(
            decisions.c.decision_id >= ids.earliest(since),
            decisions.c.decision_id < ids.earliest(ended + SLACK),
        )
        later = decisions.c.decision_id >= ids.earliest(ended + MOMENT)
        return await self._fits(match, made, second_choice=later)

    async def named(self, match: Match, decision_id: UUID) -> Fit | None:
        """The one of that id, whenever it was made."""
        fits = await self._fits(
            match, decisions.c.decision_id == decision_id, second_choice=false()
        )
        return fits[0] if fits else None

    @in_time
    async def _fits(
        self, match: Match, made: ColumnElement[bool], *, second_choice: ColumnElement[bool]
    ) -> list[Fit]:
        """A few: the second choices last, and else the newest first."""
        query, used = sha256(match.query), [_digest(each) for each in match.used]
        async with self.engine.connect() as connection:
            known = await connection.execute(self._texts([query, *used]))
            text_ids = {bytes(row.sha256): row.text_id for row in known}
            if not text_ids.keys() >= {query, *used}:
                return []
            wanted = [text_ids[each] for each in used]
            looked_at = self._looked_at(text_ids[query], made, second_choice)
            rows = await connection.execute(_that_showed(looked_at, wanted))
            return [_fit(row, wanted) for row in rows]

    def _texts(self, digests: Sequence[bytes]) -> Select[Any]:
        return select(texts.c.text_id, texts.c.sha256).where(
            texts.c.tenant == self.tenant, texts.c.sha256.in_(digests)
        )

    def _looked_at(
        self, query: int, made: ColumnElement[bool], second_choice: ColumnElement[bool]
    ) -> Subquery:
        return (
            select(
                decisions.c.decision_id,
                decisions.c.candidate_texts,
                decisions.c.shown,
                second_choice.label("second_choice"),
            )
            .where(decisions.c.tenant == self.tenant, decisions.c.query_text == query, made)
            .order_by(decisions.c.decision_id.desc())
            .limit(MOST)
            .subquery("looked_at")
        )


def _that_showed(looked_at: Subquery, wanted: Sequence[int]) -> Select[Any]:
    """Those among whose shown texts are all that are wanted."""
    shown = (
        func.unnest(looked_at.c.shown).table_valued(column("place", SmallInteger)).render_derived()
    )
    shown_texts = (
        select(func.array_agg(looked_at.c.candidate_texts[shown.c.place + 1]))
        .select_from(shown)
        .correlate(looked_at)
        .scalar_subquery()
    )
    return (
        select(looked_at)
        .where(shown_texts.bool_op("@>")(bindparam("wanted", wanted, type_=ARRAY(BigInteger))))
        .order_by(looked_at.c.second_choice, looked_at.c.decision_id.desc())
        .limit(FEW)
    )


def _digest(used: str) -> bytes:
    """Of a text, or the sha256 itself in hex."""
    try:
        digest = bytes.fromhex(used)
    except ValueError:
        return sha256(used)
    return digest if len(digest) == len(sha256("")) else sha256(used)


def _fit(row: Row[Any], wanted: Sequence[int]) -> Fit:
    """A text that was shown twice is meant where it was shown first."""
    rank = {row.candidate_texts[index]: rank for rank, index in reversed([*enumerate(row.shown)])}
    ranks = [rank[text_id] for text_id in wanted]
    return Fit(
        decision_id=row.decision_id,
        places=tuple(row.shown[each] for each in ranks),
        in_order=ranks == sorted(ranks),
        second_choice=row.second_choice,
    )
