"""NVIDIA NIM: `passages` in, logits out."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from service.asked import Asked, Reading
from service.dialects import documents
from service.dialects.dialect import Dialect, ModelName, Out, Query, told_by
from service.dialects.documents import MAX_DOCUMENTS, Document
from service.dialects.objects import Usage
from service.rerank import Reply


class RankingRequest(Dialect):
    """A query and passages."""

    name: ClassVar = "nim"
    model_config = ConfigDict(json_schema_extra=told_by(never=("texts",)))

    query: Query
    """A string, or an object with `text`."""
    passages: list[Document] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    """In the order of the first stage, best first: objects with `text`, or strings."""
    truncate: Literal["END", "NONE"] | None = None
    """`NONE` refuses passages that do not fit, instead of cutting them."""
    model: ModelName = None
    """The line that answers; the service's own line where there is none of that name."""

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=self.query,
            candidates=documents.candidates(self.passages, name="passages"),
            request_key=request_key,
            reading=Reading(may_cut=self.truncate != "NONE"),
        )

    def to_body(self, reply: Reply) -> "RankingResponse":
        return RankingResponse(
            rankings=[Ranking(index=place.index, logit=place.raw) for place in reply.places],
            usage=Usage.of(reply),
        )


class Ranking(Out):
    """One passage, in the order to use."""

    index: int
    """Its position in the request."""
    logit: float
    """Strictly falls along the list and does not depend on exploration."""


class RankingResponse(Out):
    """Best first."""

    rankings: list[Ranking]
    """Best first."""
    usage: Usage
    """What was read."""
