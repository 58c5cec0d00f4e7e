"""`POST /v1/decisions/match`, in and out."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from service.schemas.strict import Out, Strict
from service.texts import Text

MAX_USED: Final = 100
MAX_WITHIN_S: Final = 7 * 86_400


class Match(Strict):
    """What an app still knows when it has its answer."""

    query: Text
    """As it was reranked, character for character."""
    used: Annotated[list[Text], Field(min_length=1, max_length=MAX_USED)]
    """The documents in the prompt, in its order: their texts as they were reranked, or the sha256 of those in hex."""
    within_s: Annotated[float, Field(gt=0, le=MAX_WITHIN_S)] = 600.0
    """How long ago it may have been."""


class Matched(Out):
    """The newest decision that it can be, one without an answer first."""

    decision_id: UUID
    """To answer, and to speak of."""
    used: list[int]
    """Request positions of the used documents, as an answer names them."""
    answered: bool
    """Whether somebody said already what the LLM did."""
