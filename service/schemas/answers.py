"""What an app says about an answer, and what it is told."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from service.schemas.scalars import MAX_POSITION, Position, Time
from service.schemas.strict import Strict
from service.texts import Name, Text


class Answer(Strict):
    """What the LLM did with the documents. Without `used_k` and `used`, everything shown was used."""

    used_k: Annotated[int, Field(ge=0, le=MAX_POSITION)] | None = None
    """How many of the results, from the top, went into the prompt."""
    used: list[Position] | None = None
    """Which documents went into the prompt, as request positions in the prompt's order, instead of `used_k`."""
    text: Text | None = None
    """What the LLM answered; an answer without its text is never judged."""
    citations: list[Position] | None = None
    """Which documents the answer cites, as request positions."""
    model: Name | None = None
    prompt_version: Name | None = None
    latency_ms: Annotated[float, Field(ge=0)] | None = None
    occurred_at: Time | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.used_k is not None and self.used is not None:
            raise ValueError("either used_k or used, not both")
        for positions in (self.used, self.citations):
            if positions and len(set(positions)) < len(positions):
                raise ValueError("a document is named twice")
        return self


class Answered(BaseModel):
    """The answer is stored. `pending`: its decision is on its way, both meet in the database."""

    decision_id: UUID
    status: Literal["stored", "pending"]
    used_k: int
    used_is_prefix: bool | None
    """Whether the beginning of what was shown was used; otherwise nothing is learned from it. Null if not known yet."""
