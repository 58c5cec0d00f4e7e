"""What an app says about an answer, and what it is told."""

from typing import Annotated, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from service.schemas.scalars import MAX_POSITION, WHOLE, Position, Time
from service.schemas.strict import Out, Strict
from service.texts import Name, Text


def _once(positions: list[int]) -> list[int]:
    if len(set(positions)) < len(positions):
        raise ValueError("a document is named twice")
    return positions


def _is_none(value: object) -> bool:
    return value is None


Positions: TypeAlias = Annotated[
    list[Position], AfterValidator(_once), Field(json_schema_extra={"uniqueItems": True})
]


class Answer(Strict):
    """What the LLM did with the documents. Without `used_k` and `used`, everything shown was used."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "required": ["used_k", "used"],
                "properties": {"used_k": {"type": "integer"}, "used": {"type": "array"}},
            }
        }
    )

    used_k: Annotated[int, Field(ge=0, le=MAX_POSITION), WHOLE] | None = None
    """How many of the results, from the top, went into the prompt."""
    used: Positions | None = None
    """Which documents went into the prompt, as request positions in the prompt's order, instead of `used_k`."""
    text: Text | None = None
    """What the LLM answered; an answer without its text is never judged."""
    # Left out where there is none, so that an answer of before, told again, has the same hash.
    reference: Annotated[Text | None, Field(exclude_if=_is_none)] = None
    """The right answer, where one is known, as in test traffic."""
    citations: Positions | None = None
    """Which documents the answer cites, as request positions."""
    model: Name | None = None
    """The LLM."""
    prompt_version: Name | None = None
    """Of the app's prompt."""
    latency_ms: Annotated[float, Field(ge=0)] | None = None
    """How long the LLM took."""
    occurred_at: Time | None = None
    """When it answered; now when absent."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.used_k is not None and self.used is not None:
            raise ValueError("either used_k or used, not both")
        return self


class Answered(Out):
    """The answer is stored."""

    decision_id: UUID
    """The decision that it belongs to."""
    status: Literal["stored", "pending"]
    """`pending`: its decision is on its way, both meet in the database."""
    used_k: int
    """How many documents went into the prompt."""
    used_is_prefix: bool | None
    """Whether the beginning of what was shown was used; otherwise nothing is learned from it. Null if not known yet."""
