"""Answers from traces: the spans that tracing tools send anyway say what was used and what was answered.

Spans of one trace come in several exports, and to any replica: what they say waits in Redis for the span that ends the
request. Tracing is best effort, and so is this: what Redis loses was never an answer.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from contract.refusals import Refusal
from rankloop.integrations import reading
from rankloop.integrations.reading import Report
from service.answers import Answers
from service.aside import Aside
from service.matching import Fit, Matching
from service.schemas.answers import Answer
from service.schemas.matching import MAX_USED, Match
from service.trace_memory import KEPT_S, TraceMemory
from service.tracing import Found, Listed, Piece, Said

logger = logging.getLogger(__name__)

PATIENCE: Final = timedelta(seconds=KEPT_S)
"""How long a span of a trace that goes on waits for what belongs to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a trace has told so far."""

    reports: list[Report]
    used: set[str]
    """Spans that have no more to say."""
    known: dict[str, str]
    """The other spans whose decision is known, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """One tenant's."""

    memory: TraceMemory
    answers: Answers
    matching: Matching
    aside: Aside

    async def take(self, said: Mapping[str, Said]) -> int:
        """How many answers were first told by these spans.  Raises `RedisAway`."""
        return sum([await self._taken(trace_id, each) for trace_id, each in said.items()])

    async def _taken(self, trace_id: str, said: Said) -> int:
        waiting = await self.memory.add(trace_id, said)
        if not waiting.has_ended or not waiting.pieces:
            return 0
        pieces = await self.aside.run(_pieces, waiting.pieces)
        found = {name: await self._found(trace_id, piece) for name, piece in _that_count(pieces)}
        told = await self.aside.run(_told, pieces, found, now=datetime.now(UTC))
        new = [await self._report(report) for report in told.reports]
        await self.memory.settle(trace_id, used=told.used, known=told.known)
        return sum(new)

    async def _found(self, trace_id: str, piece: Piece) -> Piece:
        """The same, with its decision where it is a list of ours; most lists of a trace are none."""
        listed = piece.listed
        if listed is None or piece.found is not None:
            return piece
        fit = await self._fit(trace_id, listed, began=piece.started_at, ended=piece.ended_at)
        if fit is None:
            return piece
        return replace(piece, found=Found(decision_id=str(fit.decision_id), positions=fit.places))

    async def _fit(
        self, trace_id: str, listed: Listed, *, began: datetime, ended: datetime
    ) -> Fit | None:
        try:
            match = Match(query=listed.query, used=list(listed.texts[:MAX_USED]), within_s=KEPT_S)
        except ValidationError:
            return None
        named = _uuid(listed.decision_id)
        if named is not None:
            return await self._named(trace_id, match, named)
        fits = await self.matching.during(match, began=began, ended=ended)
        # What was ranked holds the same documents as the ranking, in another order.
        fits = [fit for fit in fits if listed.by_reranker or fit.in_order]
        return await self._free(trace_id, fits, ended=ended)

    async def _named(self, trace_id: str, match: Match, decision_id: UUID) -> Fit | None:
        fit = await self.matching.named(match, decision_id)
        if fit is not None:
            await self.memory.take(decision_id, trace_id)
        return fit

    async def _free(self, trace_id: str, fits: Sequence[Fit], *, ended: datetime) -> Fit | None:
        """The likeliest that is no other trace's."""
        owners = await self.memory.owners([fit.decision_id for fit in fits])
        pairs = [each for each in zip(owners, fits, strict=True) if each[0] in {None, trace_id}]
        for _, fit in sorted(pairs, key=lambda pair: _unlikely(*pair, ended=ended)):
            if await self.memory.claim(fit.decision_id, trace_id):
                return fit
        return None

    async def _report(self, report: Report) -> bool:
        """Whether the answer is new; one that was told otherwise stays as it is."""
        try:
            stored = await self.answers.store(UUID(report.decision_id), _answer(report))
        except (Refusal, ValidationError) as refusal:
            logger.info("traces.no_answer id=%s why=%s", report.decision_id, type(refusal).__name__)
            return False
        return stored.is_new


def _pieces(texts: Mapping[str, str]) -> dict[str, Piece]:
    return {name: Piece.of_json(text) for name, text in texts.items()}


def _that_count(pieces: Mapping[str, Piece]) -> Iterator[tuple[str, Piece]]:
    """In the order in which they began; without what a retriever handed to a reranker, or on from it."""
    lists = [piece.listed for piece in pieces.values() if piece.listed is not None]
    reranked = {listed.query for listed in lists if listed.by_reranker}
    for name, piece in sorted(pieces.items(), key=lambda each: each[1].started_at):
        listed = piece.listed
        if listed is None or listed.by_reranker or listed.query not in reranked:
            yield name, piece


def _unlikely(
    owner: str | None, fit: Fit, *, ended: datetime
) -> tuple[bool, bool, bool, timedelta]:
    """Least for what is ours already; then for what was made in the call, in this order, just before it ended."""
    return owner is None, fit.second_choice, not fit.in_order, abs(ended - fit.made_at)


def _told(pieces: Mapping[str, Piece], found: Mapping[str, Piece], *, now: datetime) -> Told:
    """pieces: all of a trace.  found: those that count, in turn, with the decisions that they are."""
    newest = {each.shown.decision_id: each.shown for each in found.values() if each.shown}
    readings = [each.reading for each in found.values() if each.reading]
    reports = reading.reports([*newest.values()], readings, cited=reading.cited)
    old = {name for name, piece in pieces.items() if piece.ended_at < now - PATIENCE}
    used = old | (pieces.keys() - found.keys()) | _used(found, reports)
    known = {
        name: piece.to_json()
        for name, piece in found.items()
        if piece is not pieces[name] and name not in used
    }
    return Told(reports=reports, used=used, known=known)


def _used(found: Mapping[str, Piece], reports: Sequence[Report]) -> set[str]:
    """The spans of which the reports were made."""
    decisions = {report.decision_id for report in reports}
    calls = [call for report in reports for call in report.calls]
    return {
        name
        for name, piece in found.items()
        if (piece.found is not None and piece.found.decision_id in decisions)
        or (piece.reading is not None and piece.reading in calls)
    }


def _answer(report: Report) -> Answer:
    """Raises `ValidationError` for what nobody could have posted."""
    call = report.reading
    said = {
        "used": report.used,
        "text": call.answer,
        "citations": report.citations,
        "model": call.model,
        "latency_ms": call.latency_ms,
        "occurred_at": call.at.isoformat(),
    }
    return Answer.model_validate(said)


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
