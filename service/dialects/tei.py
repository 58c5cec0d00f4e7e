"""Text Embeddings Inference: `texts` in, a bare list out."""

from typing import Any, ClassVar, Final, Literal

from pydantic import Field, RootModel

from service.asked import Asked, Reading
from service.dialects import documents
from service.dialects.dialect import MAX_DETAIL, Dialect, Flag, ModelName, Out, Query, Switch
from service.dialects.documents import MAX_DOCUMENTS
from service.errors import Told, TooLong, TooMany, printable
from service.rerank import Reply
from service.texts import Text

PART: Final = 8
"""Texts of one call of RAGFlow."""
_TYPES: Final = {413: "Validation", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}
_TOO_MUCH: Final = frozenset({TooLong.__name__, TooMany.__name__})


class RankRequest(Dialect):
    """A query and texts."""

    name: ClassVar = "tei"

    query: Query
    """A string, or an object with `text`."""
    texts: list[Text] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    """In the order of the first stage, best first: the order is an input of the model."""
    raw_scores: Flag = False
    """Logits instead of scores in 0..1."""
    return_text: Flag = False
    """Whether each result carries its text."""
    truncate: Switch = None
    """`false` refuses texts that do not fit, instead of cutting them."""
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None
    """Which end of a text that does not fit is left out; the right one when absent."""
    model: ModelName = None
    """The line that answers; the service's own line where there is none of that name."""
    model_id: str | None = Field(default=None, alias="model-id")
    """A model that somebody else serves; not read."""

    @property
    def may_be_a_part(self) -> bool:
        """Whether this looks like one of several calls for one ranking, as RAGFlow and R2R make them.

        RAGFlow sends so many texts a call; R2R asks once for each hypothetical answer's chunks, then for all of them.
        A part is not explored: its order is only one of several that the client merges.
        """
        says = self.model_fields_set
        is_ragflow = says == {"query", "texts", "raw_scores", "truncate"}
        return "model_id" in says or (is_ragflow and len(self.texts) <= PART)

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=self.query,
            candidates=documents.candidates(self.texts, name="texts"),
            explore=not self.may_be_a_part,
            request_key=request_key,
            reading=Reading(
                may_cut=self.truncate is not False,
                keeps_end=(self.truncation_direction or "").lower() == "left",
            ),
        )

    def to_body(self, reply: Reply) -> "Ranks":
        return Ranks(
            [
                Rank(
                    index=place.index,
                    score=place.raw if self.raw_scores else place.relevance,
                    text=self.texts[place.index] if self.return_text else None,
                )
                for place in reply.places
            ]
        )

    @classmethod
    def refused(cls, told: Told) -> tuple[int, dict[str, Any]]:
        status = 413 if told.name in _TOO_MUCH else told.status
        return status, {
            "error": printable(told.detail, MAX_DETAIL),
            "error_type": _TYPES.get(status, "Validation"),
        }


class Rank(Out):
    """One text, in the order to use."""

    index: int
    """Its position in the request."""
    score: float
    """Strictly falls along the list and does not depend on exploration."""
    text: str | None = None
    """As it came."""


class Ranks(RootModel[list[Rank]]):
    """Best first."""
