"""mixedbread: `input` in, `data` out."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from contract.records import Candidate
from service.asked import Asked
from service.dialects import documents
from service.dialects.dialect import Count, Dialect, Flag, ModelName, Out, Query, told_by
from service.dialects.documents import MAX_DOCUMENTS, FieldedDocument, RankFields, without_fields
from service.dialects.objects import Usage
from service.errors import Told
from service.rerank import Reply

_TYPES: Final[Mapping[int, str]] = {
    400: "bad_request_error",
    401: "unauthorized_error",
    403: "forbidden_error",
    404: "not_found_error",
    429: "too_many_requests_error",
}
"""What its own server calls them; the client mixedbread-ai fails on any other word."""


class InputRequest(Dialect):
    """A query and the documents as `input`."""

    name: ClassVar = "mixedbread"
    model_config = ConfigDict(
        json_schema_extra=told_by(never=("texts", "passages", "documents"))
        | without_fields("input")
    )

    query: Query
    """A string, or an object with `text`."""
    input: list[FieldedDocument] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    """In the order of the first stage, best first: strings or objects."""
    top_k: Count = None
    """How many come back; all when absent."""
    return_input: Flag = False
    """Whether each result carries its document."""
    rank_fields: RankFields = None
    """Which fields of the documents are their text, in this order."""
    model: ModelName = None
    """The line that answers; the service's own line where there is none of that name."""

    def candidates(self) -> tuple[Candidate, ...]:
        return documents.candidates(self.input, rank_fields=self.rank_fields, name="input")

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=self.query,
            candidates=self.candidates(),
            top_n=self.top_k,
            request_key=request_key,
        )

    def to_body(self, reply: Reply) -> "DataResponse":
        return DataResponse(
            model=reply.decision.line,
            data=[
                RankedInput(
                    index=place.index,
                    score=place.relevance,
                    input=self.input[place.index] if self.return_input else None,
                )
                for place in reply.places
            ],
            usage=Usage.of(reply),
            top_k=len(reply.places),
            return_input=self.return_input,
        )

    @classmethod
    def refused(cls, told: Told) -> tuple[int, dict[str, Any]]:
        status, body = super().refused(told)
        return status, body | {"type": _TYPES.get(status, body["type"])}


class RankedInput(Out):
    """One document, in the order to use."""

    index: int
    """Its position in the request."""
    score: float
    """Strictly falls along the list and does not depend on exploration."""
    input: Any | None = None
    """As it came."""


class DataResponse(Out):
    """Best first."""

    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """The line that answered."""
    data: list[RankedInput]
    """Best first."""
    usage: Usage
    """What was read."""
    top_k: int
    """How many came back."""
    return_input: bool
    """Whether the documents came back with them."""
