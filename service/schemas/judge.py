"""The judge's queue: what is leased, and what is given back."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from service.schemas.scalars import Note
from service.schemas.strict import Strict
from service.texts import Name


class RubricName(Strict):
    id: Name
    version: Name


class Lease(Strict):
    """Ask for answers that have no verdict by this rubric yet."""

    n: Annotated[int, Field(ge=1, le=64)] = 1
    rubric: RubricName


class GivenBack(Strict):
    error: Note


class UsedDocument(BaseModel):
    index: int
    """Its position in the request."""
    text: str
    """Empty where texts are not kept."""


class Task(BaseModel):
    """One answer to judge. Feedback with this rubric is the acknowledgement; otherwise the lease expires."""

    lease_id: UUID
    decision_id: UUID
    query: str
    documents: list[UsedDocument]
    """What was in the prompt, best first."""
    answer: str
    sampling_probability: float
    expires_in_s: float


class Leased(BaseModel):
    tasks: list[Task]
