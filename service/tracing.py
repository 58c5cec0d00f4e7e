"""What spans say of a ranking and an answer, in the words of OpenInference or of OpenTelemetry's GenAI conventions."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self

from rankloop.integrations.reading import Reading
from service.otlp import Attributes, Span

DECISION: Final = "rankloop.decision_id"
"""An app that knows the id may say it on any span of the ranking."""
LISTS: Final = ("reranker.output_documents", "retrieval.documents")
QUERIES: Final = ("reranker.query", "gen_ai.retrieval.query.text", "input.value")
CHATS: Final = frozenset({"chat", "text_completion", "generate_content"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Documents that a reranker or a retriever handed to the app."""

    query: str
    texts: tuple[str, ...]
    decision_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one span has to say; most spans say nothing."""

    listed: Listed | None = None
    reading: Reading | None = None
    is_root: bool = False
    started_at: datetime

    @classmethod
    def of(cls, span: Span) -> Self | None:
        listed, reading = _listed(span.attributes), _reading(span)
        if listed is None and reading is None and not span.is_root:
            return None
        return cls(listed=listed, reading=reading, is_root=span.is_root, started_at=span.started_at)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def of_json(cls, text: str) -> Self:
        found = json.loads(text)
        listed, reading = found["listed"], found["reading"]
        return cls(
            listed=listed and Listed(**listed | {"texts": tuple(listed["texts"])}),
            reading=reading and Reading(**reading | {"at": datetime.fromisoformat(reading["at"])}),
            is_root=found["is_root"],
            started_at=datetime.fromisoformat(found["started_at"]),
        )


def _listed(said: Attributes) -> Listed | None:
    query = next((said[name] for name in QUERIES if isinstance(said.get(name), str)), None)
    texts = next((found for name in LISTS if (found := _documents(said, name))), None)
    texts = texts or _retrieved(said.get("gen_ai.retrieval.documents"))
    if not query or not texts:
        return None
    decision_id = said.get(DECISION)
    return Listed(
        query=query,
        texts=tuple(texts),
        decision_id=decision_id if isinstance(decision_id, str) else None,
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
