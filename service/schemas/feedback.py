"""Statements about a decision, as they come in, and what became of each."""

import math
from typing import Annotated, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema, model_validator

from service.schemas.scalars import Id, Json, Note, Position, SourceType, Time
from service.schemas.strict import Strict
from service.texts import Name, Text


def _no_number_in_disguise(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        raise ValueError("is a number that is not finite")
    return text


Word: TypeAlias = Annotated[Text, Field(max_length=8000), AfterValidator(_no_number_in_disguise)]
Value: TypeAlias = bool | float | Word
Small: TypeAlias = Annotated[dict[Name, Json], Field(max_length=64)]


class By(Strict):
    """Who says so."""

    type: SourceType
    id: Name


class DocumentReference(Strict):
    """One document of the request, by its position or by the app's own id of it."""

    index: Position | None = None
    id: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.index is None) == (self.id is None):
            raise ValueError("either index or id")
        return self


class Rubric(Strict):
    id: Name
    version: Name
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class Judge(Strict):
    """How a judge came to its verdict."""

    rubric: Rubric
    provider: Name | None = None
    model: Name | None = None
    params: Small = Field(default_factory=dict)
    mode: Literal["answer", "pointwise", "pairwise", "listwise"] | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    presentation: list[Position] | None = None
    """Request positions in the order in which the judge read the documents."""
    sampling_probability: Annotated[float, Field(gt=0, le=1)] | None = None
    """How likely it was that this answer was judged at all."""
    usage: Small = Field(default_factory=dict)
    flags: list[Name] = Field(default_factory=list)


class Feedback(Strict):
    """One statement. `value` is what was found; `error` says instead why nothing could be: unobserved, never zero."""

    id: Id | None = None
    """The feedback's id, chosen by the sender: sent again with the same body, it is stored once."""
    decision_id: Id
    document: DocumentReference | None = None
    """The one document that it speaks of; without, it speaks of the decision as a whole."""
    name: Name
    value: Value | None = None
    error: Note | None = None
    source: By
    rationale: Note | None = None
    metadata: Small = Field(default_factory=dict)
    occurred_at: Time | None = None
    supersedes: Id | None = None
    """The id of the feedback that this one corrects."""
    judge: Judge | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.value is None) == (self.error is None):
            raise ValueError("either a value or an error")
        return self


_Item: TypeAlias = Annotated[
    object, WithJsonSchema({"$ref": "#/components/schemas/Feedback"}, mode="validation")
]


class Batch(Strict):
    items: Annotated[list[_Item], Field(min_length=1, max_length=1000)]
    """Each like the body of `POST /v1/feedback`; one that is refused does not touch the others."""


class Kept(BaseModel):
    """What became of one statement."""

    feedback_id: UUID
    decision_id: UUID
    status: Literal["stored", "duplicate", "pending", "late"]
    """
    `duplicate`: the same was said before, under this id or key. `pending`: the decision is on its way.
    `late`: its reward had been derived already and will be revised.
    """


class Refused(BaseModel):
    """Why one item of a batch was not stored; `code` is what it would have got alone."""

    status: Literal["refused"] = "refused"
    code: int
    type: str
    detail: str


class Results(BaseModel):
    """One result for each item, in their order."""

    results: list[Kept | Refused]
