"""The judge's queue: what is leased, and what is given back."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from service.schemas.scalars import WHOLE, Note
from service.schemas.strict import Out, Strict
from service.texts import Name


class RubricName(Strict):
    """What to judge by."""

    id: Name
    """The rubric's name."""
    version: Name
    """Of its text."""


class Lease(Strict):
    """Ask for answers that have no verdict by this rubric yet."""

    n: Annotated[int, Field(ge=1, le=64), WHOLE] = 1
    """How many at most."""
    rubric: RubricName
    """Answers that were judged by it are not asked about again."""


class GivenBack(Strict):
    """A task that was not done."""

    error: Note
    """Why not."""


class UsedDocument(Out):
    """What the LLM had before it."""

    index: int
    """Its position in the request."""
    text: str
    """Empty where texts are not kept."""


class Task(Out):
    """One answer to judge. Feedback with this rubric is the acknowledgement; otherwise the lease expires."""

    lease_id: UUID
    """By which it can be given back."""
    decision_id: UUID
    """The decision that the verdict will speak of."""
    query: str
    """What was asked; empty where texts are not kept."""
    documents: list[UsedDocument]
    """What was in the prompt, best first."""
    answer: str
    """What the LLM said."""
    sampling_probability: float
    """How likely it was that this answer is judged at all."""
    expires_in_s: float
    """Until somebody else may take it."""


class Leased(Out):
    """What is to be judged."""

    tasks: list[Task]
    """Oldest first; fewer than asked for, or none, where no more wait."""
