"""Documents as clients send them: a string, or an object that has its text somewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema
from typing_extensions import TypeAliasType

from contract.records import Candidate
from service.errors import Invalid
from service.texts import MAX_NAME, NO_NUL, Name, storable

TEXT_FIELDS: Final = ("text", "content", "page_content")
MAX_DOCUMENTS: Final = 10_000
"""No setting goes beyond it."""
_MAX_RANK_FIELDS: Final = 32

_REF: Final = "#/components/schemas/Document"
_WITHOUT_NUL: Final = {"pattern": NO_NUL, "items": {"properties": {"text": {"pattern": NO_NUL}}}}
"""Of a text or of parts, if it is either."""
_PART: Final = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string"}},
}
_TEXT: Final = {"anyOf": [{"type": "string"}, {"type": "array", "contains": _PART}]}
_OBJECT: Final = {
    "type": "object",
    "properties": {
        "id": {"description": "Yours; feedback may name it.", "pattern": NO_NUL},
        "score": {
            "description": "The first stage's own, higher is better: an input of the model.",
            "minimum": -sys.float_info.max,
            "maximum": sys.float_info.max,
        },
        **{
            name: _WITHOUT_NUL | {"description": "The text, or parts with `text`."}
            for name in TEXT_FIELDS
        },
    },
    "anyOf": [{"required": [name], "properties": {name: _TEXT}} for name in TEXT_FIELDS],
}
_SCHEMA: Final[dict[str, Any]] = {
    "description": (
        "A text, or an object that has it: in the first of `text`, `content` and `page_content` that is a string or"
        " parts with `text`."
    ),
    "anyOf": [{"type": "string", "pattern": NO_NUL}, _OBJECT],
}
_WITH_FIELDS: Final = {
    "type": "object",
    "title": "With rank_fields",
    "description": "An object with one of the fields that `rank_fields` names, or with a text as other documents.",
}

Document = TypeAliasType("Document", Annotated[str | dict[str, JsonValue], WithJsonSchema(_SCHEMA)])


FieldedDocument: TypeAlias = Annotated[
    str | dict[str, JsonValue],
    WithJsonSchema({"anyOf": [{"$ref": _REF}, _WITH_FIELDS]}),
]
"""A document of a request that may say in which fields its text is."""


def _once_each(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


RankFields: TypeAlias = (
    Annotated[list[Name], Field(max_length=_MAX_RANK_FIELDS), AfterValidator(_once_each)] | None
)
"""Which fields of the documents are their text, in this order; one that comes again is read once."""


def without_fields(name: str) -> dict[str, Any]:
    """JSON Schema for: without `rank_fields`, every document under this name has its text where we look for it."""
    given = {
        "required": ["rank_fields"],
        "properties": {"rank_fields": {"type": "array", "minItems": 1}},
    }
    return {"if": given, "else": {"properties": {name: {"items": {"$ref": _REF}}}}}


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
    # A document that has none of the fields asked for is read as if none were.
    texts = [*_joined(document, rank_fields or ()), *_texts(document)]
    if not texts:
        raise Invalid(f"{place}: has no text")
    text, *_ = [_storable(text, place) for text in texts]
    return Candidate(
        text=text,
        key=_key(document.get("id"), place),
        score=_score(document.get("score"), place),
    )


def _texts(document: Mapping[str, JsonValue]) -> list[str]:
    """All that could be its text, of which the first one counts."""
    found = (_text(document.get(name)) for name in TEXT_FIELDS)
    return [text for text in found if text is not None]


def _text(found: JsonValue) -> str | None:
    if isinstance(found, list):  # parts, as chat messages have them
        parts = [part.get("text") for part in found if isinstance(part, dict)]
        texts = [part for part in parts if isinstance(part, str)]
        return "\n".join(texts) if texts else None
    return found if isinstance(found, str) else None


def _joined(document: Mapping[str, JsonValue], fields: Sequence[str]) -> list[str]:
    """One text: the fields that it has, one a line, in the order asked for."""
    lines = [
        f"{name}: {document[name]}" if len(fields) > 1 else str(document[name])
        for name in fields
        if isinstance(document.get(name), str | int | float)
    ]
    return ["\n".join(lines)] if lines else []


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
