"""The small types of our bodies: read from JSON's strings and numbers alone, nothing coerced beyond that."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    JsonValue,
    Strict,
    WithJsonSchema,
)
from typing_extensions import TypeAliasType

from contract.records import Source
from service.texts import NO_NUL, Text, storable

MAX_POSITION: Final = 2**15 - 1
MAX_DEPTH: Final = 16
YEARS: Final = range(1970, 2200)
_YEARS: Final = "^(19[7-9]|20[0-9]|21[0-9])[0-9]-"
"""The same, of how a time is written."""
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII
)


def _a_string(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _written_as(form: re.Pattern[str], name: str) -> Callable[[object], object]:
    """Of several ways to write the same, the one that OpenAPI names."""

    def checked(value: object) -> object:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise ValueError(f"must be {name}")
        return value

    return checked


def _whole(value: object) -> object:
    """To JSON, 1.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _within_reason(time: datetime) -> datetime:
    """The same.  Raises ValueError for years that PostgreSQL stores and Python cannot read back."""
    if time.year not in YEARS:
        raise ValueError(f"must be in the years {YEARS.start} to {YEARS.stop - 1}")
    return time


def _storable_json(value: JsonValue, depth: int = 0) -> JsonValue:
    """The value itself.  Raises ValueError for what a jsonb column would refuse, and for deep nesting."""
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        raise ValueError("holds a number that is not finite")
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    for part in parts if isinstance(parts, list) else ():
        _storable_json(part, depth + 1)
    return value


Id: TypeAlias = Annotated[
    UUID, Strict(strict=False), BeforeValidator(_written_as(_UUID, "a UUID with its hyphens"))
]
Time: TypeAlias = Annotated[
    AwareDatetime,
    Strict(strict=False),
    BeforeValidator(_written_as(_RFC_3339, "a time as RFC 3339 has it, with its offset")),
    AfterValidator(_within_reason),
    Field(json_schema_extra={"pattern": _YEARS}),
]
SourceType: TypeAlias = Annotated[Source, Strict(strict=False), BeforeValidator(_a_string)]

WHOLE: Final = BeforeValidator(_whole)
"""After the bounds of an integer, so that it comes before them."""
Position: TypeAlias = Annotated[int, Field(ge=0, le=MAX_POSITION), WHOLE]
"""Of a document in its request, from 0."""
NOTHING_ELSE: Final = Field(json_schema_extra={"additionalProperties": False})
"""Of a dict: pydantic says of its keys what they look like, and forgets that there are no others."""

Note: TypeAlias = Annotated[Text, Field(max_length=8000)]
"""A remark in somebody's words."""

_JSON: Final[dict[str, Any]] = {
    "description": f"Any JSON without NUL characters, nested {MAX_DEPTH} deep at most.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string", "pattern": NO_NUL},
        {"type": "array", "items": {"$ref": "#/components/schemas/Json"}},
        {
            "type": "object",
            "propertyNames": {"pattern": NO_NUL},
            "additionalProperties": {"$ref": "#/components/schemas/Json"},
        },
    ],
}
Json = TypeAliasType(
    "Json", Annotated[JsonValue, AfterValidator(_storable_json), WithJsonSchema(_JSON)]
)
"""Any JSON that can be stored."""
