"""Voyage: known by `top_k` or `truncation`; `data` out, each document a string."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from contract.records import Candidate
from service.asked import Asked, Reading
from service.dialects import documents
from service.dialects.dialect import (
    SIDES,
    Count,
    Dialect,
    Flag,
    ModelName,
    Out,
    Query,
    Switch,
    told_by,
)
from service.dialects.documents import MAX_DOCUMENTS, Document
from service.dialects.objects import Usage
from service.rerank import Reply


class TopKRequest(Dialect):
    """A query and documents, of which the best `top_k` come back."""

    name: ClassVar = "voyage"
    model_config = ConfigDict(
        json_schema_extra=told_by("top_k", "truncation", never=("texts", "passages", *SIDES))
    )

    query: Query
    """A string, or an object with `text`."""
    documents: list[Document] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    """In the order of the first stage, best first."""
    top_k: Count = None
    """How many come back; all when absent."""
    return_documents: Flag = False
    """Whether each result carries its document."""
    truncation: Switch = True
    """`false` refuses documents that do not fit, instead of cutting them."""
    model: ModelName = None
    """The line that answers; the service's own line where there is none of that name."""

    def candidates(self) -> tuple[Candidate, ...]:
        return documents.candidates(self.documents, name="documents")

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=self.query,
            candidates=self.candidates(),
            top_n=self.top_k,
            request_key=request_key,
            reading=Reading(may_cut=self.truncation is not False),
        )

    def to_body(self, reply: Reply) -> "TopKResponse":
        texts = self.candidates() if self.return_documents else None
        return TopKResponse(
            model=reply.decision.line,
            data=[
                TopKResult(
                    index=place.index,
                    relevance_score=place.relevance,
                    document=texts[place.index].text if texts else None,
                )
                for place in reply.places
            ],
            usage=Usage.of(reply),
        )


class TopKResult(Out):
    """One document, in the order to use."""

    index: int
    """Its position in the request."""
    relevance_score: float
    """Strictly falls along the list and does not depend on exploration."""
    document: str | None = None
    """Its text."""


class TopKResponse(Out):
    """Best first."""

    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """The line that answered."""
    data: list[TopKResult]
    """Best first."""
    usage: Usage
    """What was read."""
