"""Statements about a decision, as they come in, and what became of each."""

import math
from typing import Annotated, Final, Literal, Self, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from service.schemas.scalars import NOTHING_ELSE, Id, Json, Note, Position, SourceType, Time
from service.schemas.strict import Out, Strict, either
from service.texts import Name, Text


def _no_number_in_disguise(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        raise ValueError("is a number that is not finite")
    return text


_NOT_FINITE: Final = r"^\s*[+-]?([nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?)\s*$"

Word: TypeAlias = Annotated[
    Text,
    Field(max_length=8000, json_schema_extra={"not": {"pattern": _NOT_FINITE}}),
    AfterValidator(_no_number_in_disguise),
]
Value: TypeAlias = bool | float | Word
Small: TypeAlias = Annotated[dict[Name, Json], Field(max_length=64), NOTHING_ELSE]


class By(Strict):
    """Who says so."""

    type: SourceType
    """What kind of speaker it is."""
    id: Name
    """Which of them: a person, a page, a program."""


class DocumentReference(Strict):
    """One document of the request, by its position or by the app's own id of it."""

    model_config = ConfigDict(json_schema_extra=either("index", "id"))

    index: Position | None = None
    """Its position in the request."""
    id: Name | None = None
    """The app's own id of it, as it was sent with the request."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.index is None) == (self.id is None):
            raise ValueError("either index or id")
        return self


class Rubric(Strict):
    """What a judge was told to look for."""

    id: Name
    """Its name."""
    version: Name
    """Of its text: verdicts by two versions are two verdicts."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of its text, in hex."""


class Judge(Strict):
    """How a judge came to its verdict."""

    rubric: Rubric
    """By which it judged."""
    provider: Name | None = None
    """Who serves the model."""
    model: Name | None = None
    """The LLM that judged."""
    params: Small = Field(default_factory=dict)
    """Its sampling parameters and the like."""
    mode: Literal["answer", "pointwise", "pairwise", "listwise"] | None = None
    """What it had before it: the answer, one document, two of them, or all."""
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """How sure it says it is."""
    presentation: list[Position] | None = None
    """Request positions in the order in which the judge read the documents."""
    sampling_probability: Annotated[float, Field(gt=0, le=1)] | None = None
    """How likely it was that this answer was judged at all."""
    usage: Small = Field(default_factory=dict)
    """Tokens and cost."""
    flags: list[Name] = Field(default_factory=list)
    """What was odd about it. With `shadow` among them it is stored and seen, and no reward is made of it."""


class Feedback(Strict):
    """One statement. `value` is what was found; `error` says instead why nothing could be: unobserved, never zero."""

    model_config = ConfigDict(json_schema_extra=either("value", "error"))

    id: Id | None = None
    """The feedback's id, chosen by the sender: sent again with the same body, it is stored once."""
    decision_id: Id
    """The decision that it speaks of."""
    document: DocumentReference | None = None
    """The one document that it speaks of; without, it speaks of the decision as a whole."""
    name: Name
    """What is stated; which names make up a reward is the trainer's to say."""
    value: Value | None = None
    """What was found. A string that is a number has to be a finite one."""
    error: Note | None = None
    """Why nothing was found."""
    source: By
    """Who says so."""
    rationale: Note | None = None
    """Why, in words."""
    metadata: Small = Field(default_factory=dict)
    """Anything else, kept with it."""
    occurred_at: Time | None = None
    """When it was found; now when absent."""
    supersedes: Id | None = None
    """The id of the feedback that this one corrects."""
    judge: Judge | None = None
    """How the verdict came about, where a judge speaks."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.value is None) == (self.error is None):
            raise ValueError("either a value or an error")
        return self


_Item: TypeAlias = Annotated[
    object,
    WithJsonSchema({"anyOf": [{"$ref": "#/components/schemas/Feedback"}, {}]}, mode="validation"),
]


class Batch(Strict):
    """Many statements at once."""

    items: Annotated[list[_Item], Field(min_length=1, max_length=1000)]
    """Each like the body of `POST /v1/feedback`; one that is refused does not touch the others."""


class Kept(Out):
    """What became of one statement."""

    feedback_id: UUID
    """By which it can be corrected or taken back."""
    decision_id: UUID
    """The decision that it speaks of."""
    status: Literal["stored", "duplicate", "pending", "late"]
    """
    `duplicate`: the same was said before, under this id or key. `pending`: the decision is on its way.
    `late`: its reward had been derived already and will be revised.
    """


class Refused(Out):
    """Why one item of a batch was not stored."""

    status: Literal["refused"] = "refused"
    """It was not stored."""
    code: int
    """The status that it would have got alone."""
    type: str
    """Of the problem that it would have got."""
    detail: str
    """What is wrong with it."""


class Results(Out):
    """What became of a batch."""

    results: list[Kept | Refused]
    """One for each item, in their order."""
