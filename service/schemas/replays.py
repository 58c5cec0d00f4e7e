"""Answers that shall be made again: what is leased, and what came of it."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from contract.replays import Purpose
from service.schemas.feedback import Judge
from service.schemas.judge import AtMost, Probability
from service.schemas.scalars import Note
from service.schemas.strict import Out, Strict, either


class ReplayLease(Strict):
    """Ask for answers that shall be made again."""

    n: AtMost = 1
    """How many at most."""


class ReplayDocument(Out):
    """One document that an answer is made from."""

    index: int
    """Its position in the request."""
    text: str
    """As the app sent it, uncut."""


class Replay(Out):
    """An answer to make again, from other documents or in another order, and to judge."""

    lease_id: UUID
    """By which it is told what came of it."""
    replay_id: UUID
    """The same whoever leases it."""
    decision_id: UUID
    """Whose query it answers."""
    purpose: Purpose
    """Why it is asked."""
    query: str
    """What was asked."""
    documents: list[ReplayDocument]
    """Those that `used` and `against` name, each once, in request order."""
    used: list[int]
    """Request positions of what the LLM shall read, in that order."""
    against: list[int] | None
    """Those of the other answer, with which the one from `used` is compared; null where it is judged alone."""
    reference: str | None
    """The right answer; null where nobody knows it, or it is not kept."""
    expires_in_s: float
    """Until somebody else may take it."""
    attempts_left: Annotated[int, Field(ge=0)]
    """How often it may be leased after this time. 0: only an `error` tells that nothing will come of it."""


class ReplaysLeased(Out):
    """What is to be made again."""

    tasks: list[Replay]
    """Pairs first, then oldest first; fewer than asked for, or none, where no more wait."""


class ReplayResult(Strict):
    """What came of a replay, for good. `error` says instead why nothing did."""

    model_config = ConfigDict(json_schema_extra=either("value", "error"))

    value: Probability | None = None
    """
    How good the answer from `used` is. Of a pair: 1 where it is better than the one from `against` in both orders of
    presentation, 0 where it is worse in both, .5 otherwise.
    """
    error: Note | None = None
    """Why there is no value, and will be none."""
    rationale: Note | None = None
    """Why, in words."""
    judge: Judge | None = None
    """How the value came about."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.value is None) == (self.error is None):
            raise ValueError("either a value or an error")
        return self
