"""Documents as clients send them: a string, or an object that has its text somewhere."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from pydantic import JsonValue

from contract.records import Candidate
from service.errors import Invalid
from service.texts import MAX_NAME, storable

Document: TypeAlias = str | dict[str, JsonValue]

TEXT_FIELDS: Final = ("text", "content", "page_content")
MAX_DOCUMENTS: Final = 10_000
"""No setting goes beyond it."""


def candidates(
    documents: Sequence[Document], *, rank_fields: Sequence[str] | None = None, name: str
) -> tuple[Candidate, ...]:
    """In request order.  Raises `Invalid`, naming the field by `name` and the position."""
    return tuple(
        _candidate(document, rank_fields=rank_fields, place=f"{name}.{position}")
        for position, document in enumerate(documents)
    )


def returned(document: Document, candidate: Candidate) -> dict[str, Any]:
    """The document as it came, with its text as `text`."""
    own = document if isinstance(document, dict) else {}
    return {**own, "text": candidate.text}


def _candidate(document: Document, *, rank_fields: Sequence[str] | None, place: str) -> Candidate:
    if isinstance(document, str):
        return Candidate(text=_storable(document, place))
    text = _joined(document, rank_fields) if rank_fields else _text(document)
    if text is None:
        raise Invalid(f"{place}: has no text")
    return Candidate(
        text=_storable(text, place),
        key=_key(document.get("id"), place),
        score=_score(document.get("score"), place),
    )


def _text(document: Mapping[str, JsonValue]) -> str | None:
    found = next((document[name] for name in TEXT_FIELDS if name in document), None)
    if isinstance(found, list):  # parts, as chat messages have them
        parts = [part.get("text") for part in found if isinstance(part, dict)]
        texts = [part for part in parts if isinstance(part, str)]
        return "\n".join(texts) if texts else None
    return found if isinstance(found, str) else None


def _joined(document: Mapping[str, JsonValue], fields: Sequence[str]) -> str | None:
    """The fields that it has, one a line, in the order asked for."""
    lines = [
        f"{name}: {document[name]}" if len(fields) > 1 else str(document[name])
        for name in fields
        if isinstance(document.get(name), str | int | float)
    ]
    return "\n".join(lines) if lines else None


def _key(value: JsonValue, place: str) -> str | None:
    """The app's own id; one that is too long to be kept is not."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    key = _storable(str(value), place)
    return key if 1 <= len(key) <= MAX_NAME else None


def _score(value: JsonValue, place: str) -> float | None:
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        score = float(value)
    except OverflowError as error:
        raise Invalid(f"{place}.score: is too large") from error
    if score != score or score in (float("inf"), float("-inf")):  # noqa: PLR0124 -- NaN
        raise Invalid(f"{place}.score: is not finite")
    return score


def _storable(text: str, place: str) -> str:
    try:
        return storable(text)
    except ValueError as error:
        raise Invalid(f"{place}: {error}") from error
