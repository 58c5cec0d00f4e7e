"""The small types of our bodies: read from JSON's strings and numbers alone, nothing coerced beyond that."""

from datetime import datetime
from typing import Annotated, Final, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, JsonValue, Strict

from contract.records import Source
from service.texts import Text, storable

MAX_POSITION: Final = 2**15 - 1
MAX_DEPTH: Final = 16
YEARS: Final = range(1970, 2200)


def _a_string(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


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


Id: TypeAlias = Annotated[UUID, Strict(strict=False), BeforeValidator(_a_string)]
Time: TypeAlias = Annotated[
    AwareDatetime,
    Strict(strict=False),
    BeforeValidator(_a_string),
    AfterValidator(_within_reason),
]
SourceType: TypeAlias = Annotated[Source, Strict(strict=False), BeforeValidator(_a_string)]

Position: TypeAlias = Annotated[int, Field(ge=0, le=MAX_POSITION)]
"""Of a document in its request, from 0."""

Note: TypeAlias = Annotated[Text, Field(max_length=8000)]
"""A remark in somebody's words."""

Json: TypeAlias = Annotated[JsonValue, AfterValidator(_storable_json)]
"""Any JSON that can be stored."""
