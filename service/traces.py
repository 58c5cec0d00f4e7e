"""Answers from traces: the spans that tracing tools send anyway say what was used and what was answered.

Spans of one trace come in several exports, and to any replica: what they say waits in Redis for the span that ends the
request. Tracing is best effort, and so is this: what Redis loses was never an answer.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contract.refusals import Refusal
from rankloop.integrations import reading
from rankloop.integrations.reading import Report, Shown
from service.answers import Answers
from service.errors import HttpRefusal
from service.matching import Matching
from service.otlp import Span
from service.schemas.answers import Answer
from service.schemas.matching import MAX_USED, Match
from service.tracing import Listed, Piece

logger = logging.getLogger(__name__)

KEPT_S: Final = 900
"""A trace whose end does not come for so long is forgotten."""
MOST_SPANS: Final = 1_000
"""Of one trace, of those that say something."""


class RedisAway(HttpRefusal):
    """Redis does not answer: exporters send it again."""

    status = 503
    retry_after_s = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """One tenant's."""

    redis: Redis
    tenant: str
    answers: Answers
    matching: Matching

    async def take(self, spans: Iterable[Span]) -> int:
        """How many answers these spans completed.  Raises `RedisAway`."""
        pieces: dict[str, dict[str, Piece]] = {}
        for span in spans:
            if (piece := Piece.of(span)) is not None:
                pieces.setdefault(span.trace_id, {})[span.span_id] = piece
        try:
            whole = [await self._gathered(trace_id, new) for trace_id, new in pieces.items()]
        except (RedisError, OSError) as error:
            raise RedisAway("Redis does not answer") from error
        return sum([await self._answered(each) for each in whole if each])

    async def _gathered(self, trace_id: str, new: Mapping[str, Piece]) -> list[Piece]:
        """All pieces of a trace in the order in which they began; none while its end is missing."""
        key = f"rankloop:trace:{self.tenant}:{trace_id}"
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, mapping={name: piece.to_json() for name, piece in new.items()})
            pipeline.expire(key, KEPT_S)
            pipeline.hgetall(key)
            _, _, known = await pipeline.execute()
        pieces = [Piece.of_json(text) for text in [*known.values()][:MOST_SPANS]]
        if not any(piece.is_root for piece in pieces):
            return []
        return sorted(pieces, key=lambda piece: piece.started_at)

    async def _answered(self, pieces: Sequence[Piece]) -> int:
        shown = [
            found
            for piece in pieces
            if piece.listed is not None and (found := await self._shown(piece.listed)) is not None
        ]
        readings = [piece.reading for piece in pieces if piece.reading is not None]
        newest = {each.decision_id: each for each in shown}
        reports = reading.reports([*newest.values()], readings, cited=reading.cited)
        return sum([await self._report(report) for report in reports])

    async def _shown(self, listed: Listed) -> Shown | None:
        """The decision that ranked these documents; most lists of a trace are none of ours."""
        try:
            match = Match(query=listed.query, used=list(listed.texts[:MAX_USED]), within_s=KEPT_S)
            matched = await self.matching.find(match, decision_id=_uuid(listed.decision_id))
        except (Refusal, ValidationError):
            return None
        return Shown(
            decision_id=str(matched.decision_id),
            positions=tuple(matched.used),
            texts=listed.texts[: len(matched.used)],
        )

    async def _report(self, report: Report) -> bool:
        """Whether the answer is stored, now or before; one that was told otherwise stays as it is."""
        try:
            await self.answers.store(UUID(report.decision_id), _answer(report))
        except (Refusal, ValidationError) as refusal:
            logger.info("traces.no_answer id=%s why=%s", report.decision_id, type(refusal).__name__)
            return False
        return True


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
