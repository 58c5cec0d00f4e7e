"""What spans say of a ranking and an answer, in the words of OpenInference or of OpenTelemetry's GenAI conventions."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self

from rankloop.integrations.reading import Reading, Shown
from service import otlp
from service.otlp import Attributes, Span

DECISION: Final = "rankloop.decision_id"
"""An app that knows the id may say it on any span of the ranking."""
RERANKED: Final = "reranker.output_documents"
RETRIEVED: Final = "retrieval.documents"
QUERIES: Final = ("reranker.query", "gen_ai.retrieval.query.text", "input.value")
CHATS: Final = frozenset({"chat", "text_completion", "generate_content"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Documents that a reranker or a retriever handed to the app."""

    query: str
    texts: tuple[str, ...]
    decision_id: str | None = None
    by_reranker: bool = False
    """Else it may be a ranking, or what was ranked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The decision that a list is."""

    decision_id: str
    positions: tuple[int, ...]
    """Of the listed texts in the request, as far as they were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one span has to say; most spans say nothing."""

    listed: Listed | None = None
    found: Found | None = None
    """None while nobody knows which decision the list is."""
    reading: Reading | None = None
    started_at: datetime
    ended_at: datetime

    @classmethod
    def of(cls, span: Span) -> Self | None:
        listed, reading = _listed(span.attributes), _reading(span)
        if listed is None and reading is None:
            return None
        return cls(
            listed=listed, reading=reading, started_at=span.started_at, ended_at=span.ended_at
        )

    @property
    def shown(self) -> Shown | None:
        """The list as a ranking of ours."""
        if self.listed is None or self.found is None:
            return None
        positions = self.found.positions
        return Shown(
            decision_id=self.found.decision_id,
            positions=positions,
            texts=self.listed.texts[: len(positions)],
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def of_json(cls, text: str) -> Self:
        said = json.loads(text)
        listed, found, reading = said["listed"], said["found"], said["reading"]
        return cls(
            listed=listed and Listed(**listed | {"texts": tuple(listed["texts"])}),
            found=found and Found(**found | {"positions": tuple(found["positions"])}),
            reading=reading and Reading(**reading | {"at": datetime.fromisoformat(reading["at"])}),
            started_at=datetime.fromisoformat(said["started_at"]),
            ended_at=datetime.fromisoformat(said["ended_at"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an export says of one trace."""

    pieces: Mapping[str, str]
    """By span, as JSON."""
    has_ended: bool
    """Whether the span that ends a request is among them."""

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Self:
        return cls(
            pieces={
                span.span_id: piece.to_json()
                for span in spans
                if (piece := Piece.of(span)) is not None
            },
            has_ended=any(span.is_root for span in spans),
        )


def read(body: bytes, *, content_type: str, encoding: str | None, most: int) -> dict[str, Said]:
    """What an export says, by trace.  Raises as `otlp.decode` does."""
    spans: dict[str, list[Span]] = {}
    for span in otlp.decode(body, content_type=content_type, encoding=encoding, most=most):
        spans.setdefault(span.trace_id, []).append(span)
    said = {trace_id: Said.of(each) for trace_id, each in spans.items()}
    return {trace_id: each for trace_id, each in said.items() if each.pieces or each.has_ended}


def _listed(said: Attributes) -> Listed | None:
    query = next((said[name] for name in QUERIES if isinstance(said.get(name), str)), None)
    reranked = _documents(said, RERANKED)
    texts = (
        reranked
        or _documents(said, RETRIEVED)
        or _retrieved(said.get("gen_ai.retrieval.documents"))
    )
    if not query or not texts:
        return None
    decision_id = said.get(DECISION)
    return Listed(
        query=query,
        texts=tuple(texts),
        decision_id=decision_id if isinstance(decision_id, str) else None,
        by_reranker=bool(reranked),
    )


def _documents(said: Attributes, name: str) -> list[str]:
    return _indexed(said, rf"{re.escape(name)}\.(\d+)\.document\.content")


def _retrieved(value: object) -> list[str]:
    """The conventions name ids and scores alone; some send the content with them."""
    documents = _parsed(value)
    found = [each.get("content", each.get("text")) for each in documents if isinstance(each, dict)]
    return [each for each in found if isinstance(each, str)]


def _reading(span: Span) -> Reading | None:
    said = span.attributes
    kind, operation = said.get("openinference.span.kind"), said.get("gen_ai.operation.name")
    if kind != "LLM" and operation not in CHATS:
        return None
    prompt, answer = _prompt(said), _answer(said)
    if not prompt or not answer:
        return None
    models = ("llm.model_name", "gen_ai.response.model", "gen_ai.request.model")
    return Reading(
        prompt=prompt,
        answer=answer,
        model=next((said[name] for name in models if isinstance(said.get(name), str)), None),
        at=span.ended_at,
        latency_ms=max(0.0, 1000 * (span.ended_at - span.started_at).total_seconds()),
    )


def _prompt(said: Attributes) -> str:
    parts = _indexed(
        said, r"llm\.input_messages\.(\d+)\.message\.(?:content|contents\.\d+\..*\.text)"
    )
    parts = parts or [
        *_texts(said.get("gen_ai.system_instructions")),
        *_texts(said.get("gen_ai.input.messages")),
    ]
    parts = parts or _indexed(said, r"gen_ai\.prompt\.(\d+)\.content")
    return "\n".join(parts) or _text(said.get("input.value"))


def _answer(said: Attributes) -> str:
    parts = _indexed(
        said, r"llm\.output_messages\.(\d+)\.message\.(?:content|contents\.\d+\..*\.text)"
    )
    parts = parts or _texts(said.get("gen_ai.output.messages"))[:1]
    parts = parts or _indexed(said, r"gen_ai\.completion\.(\d+)\.content")
    return (parts[0] if parts else "") or _text(said.get("output.value"))


def _indexed(said: Attributes, pattern: str) -> list[str]:
    """The texts whose name fits, by the number in it."""
    found = [
        (int(match[1]), name, value)
        for name, value in said.items()
        if isinstance(value, str) and (match := re.fullmatch(pattern, name))
    ]
    return [value for _, _, value in sorted(found)]


def _texts(messages: object) -> list[str]:
    """One text for each message, from its text parts."""
    return [text for message in _parsed(messages) if (text := "\n".join(_parts(message)))]


def _parts(message: object) -> Iterator[str]:
    if not isinstance(message, dict):
        return
    parts: Sequence[Any] = message["parts"] if isinstance(message.get("parts"), list) else [message]
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("content"), str):
            yield part["content"]


def _parsed(value: object) -> list[Any]:
    """A list, also as the JSON of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
