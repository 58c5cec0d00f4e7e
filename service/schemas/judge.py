"""The judge's queue: what is leased, and what is given back."""

from typing import Annotated, Final, TypeAlias
from uuid import UUID

from pydantic import Field

from service.schemas.scalars import WHOLE, Note
from service.schemas.strict import Out, Strict
from service.texts import Name

MAX_SETTLE_S: Final = 86_400.0


class RubricName(Strict):
    """What to judge by."""

    id: Name
    """The rubric's name."""
    version: Name
    """Of its text."""


Probability: TypeAlias = Annotated[float, Field(ge=0, le=1)]
AtMost: TypeAlias = Annotated[int, Field(ge=1, le=64), WHOLE]
"""How many a judge may lease at once."""


class Sampling(Strict):
    """How likely an answer is to be judged: the largest of `floor` and those of the strata that it is in."""

    floor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of every answer, so that each has a chance."""
    explored: Probability = 0.0
    """Where the order was drawn instead of the best one."""
    canary: Probability = 0.0
    """Where a canary answered."""
    low_margin: Probability = 0.0
    """Where the model was unsure which document is the best."""
    margin: Annotated[float, Field(ge=0)] = 0.05
    """It was unsure where its two highest logits differ by less than this."""


class Lease(Strict):
    """Ask for answers that have no verdict by this rubric yet."""

    n: AtMost = 1
    """How many at most."""
    rubric: RubricName
    """Answers that were judged by it are not asked about again."""
    settle_s: Annotated[float, Field(ge=0, le=MAX_SETTLE_S)] = 0.0
    """So many seconds an answer does not wait yet: the app's own verdict or a correction may still come."""
    sampling: Sampling = Sampling()
    """Which share of the answers is judged; all of them, unless it says otherwise."""


class GivenBack(Strict):
    """A task that was not done."""

    error: Note
    """Why not."""
    tried: bool = True
    """False where the judge never came to it, as when it was stopped or its LLM is away: no attempt is spent."""


class UsedDocument(Out):
    """What the LLM had before it."""

    index: int
    """Its position in the request."""
    text: str | None
    """Null where texts are not kept."""


class Task(Out):
    """One answer to judge. Feedback with this rubric is the acknowledgement; otherwise the lease expires."""

    lease_id: UUID
    """By which it can be given back."""
    decision_id: UUID
    """The decision that the verdict will speak of."""
    query: str | None
    """What was asked; null where texts are not kept."""
    documents: list[UsedDocument]
    """What was in the prompt, best first."""
    answer: str
    """What the LLM said."""
    reference: str | None
    """The right answer; null where nobody knows it, or it is not kept."""
    sampling_probability: float
    """How likely it was that this answer is judged at all."""
    expires_in_s: float
    """Until somebody else may take it."""
    attempts_left: Annotated[int, Field(ge=0)]
    """How often it may be leased after this time. 0: only an `error` as feedback tells that there is no verdict."""


class Leased(Out):
    """What is to be judged."""

    tasks: list[Task]
    """Oldest first; fewer than asked for, or none, where no more wait."""
