"""Cohere v1 and v2, Jina, vLLM, Infinity, llama.cpp, Xinference, LiteLLM, and ours, which is all of them and more."""

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field

from contract.records import Candidate
from service.asked import Asked, Reading
from service.dialects import documents
from service.dialects.dialect import Count, Dialect, Flag, ModelName, Out, Query, not_blank
from service.dialects.documents import MAX_DOCUMENTS, Document
from service.rerank import Reply
from service.texts import Name, Text

_MAX_TAGS: Final = 16
_MAX_RANK_FIELDS: Final = 32


class RerankRequest(Dialect):
    """A query and the documents that the first stage found for it, in its order."""

    name: ClassVar = "objects"

    query: Annotated[Query, AfterValidator(not_blank)]
    documents: list[Document] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    """Best first, as the first stage found them: the order is an input of the model. Strings, or objects with `text`
    and optionally `id` (yours; feedback may name it), `score` (the first stage's own, higher is better: an input of
    the model) and anything else, which comes back with `return_documents` and is not stored."""
    top_n: Count = None
    """How many come back; all when absent."""
    model: ModelName = None
    """The line that answers; the service's own line where there is none of that name."""
    session_id: Name | None = None
    """The same session, query and documents keep their order for ten minutes."""
    explore: Literal["auto", "never"] | None = "auto"
    """`never` always gets the best order, and is not learned from."""
    return_documents: Flag = False
    tags: dict[Name, Text] | None = Field(default=None, max_length=_MAX_TAGS)
    """Kept with the decision."""
    rank_fields: list[Name] | None = Field(default=None, max_length=_MAX_RANK_FIELDS)
    """Which fields of the documents are their text, in this order."""
    max_tokens_per_doc: Count = None
    """Longer documents are cut there; at what fits the model in any case."""
    max_chunks_per_doc: Count = None
    """A long document is scored in so many windows at most, of which the best counts; 1 when absent."""
    truncate: bool | None = True
    """`false` refuses documents that do not fit, instead of cutting them."""
    raw_scores: Flag = False
    """Logits instead of scores in 0..1."""

    def candidates(self) -> tuple[Candidate, ...]:
        return documents.candidates(self.documents, rank_fields=self.rank_fields, name="documents")

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=self.query,
            candidates=self.candidates(),
            top_n=self.top_n,
            session=self.session_id,
            explore=self.explore != "never",
            tags=self.tags or {},
            request_key=request_key,
            reading=Reading(
                max_tokens=self.max_tokens_per_doc,
                windows=self.max_chunks_per_doc or 1,
                may_cut=self.truncate is not False,
            ),
        )

    def to_body(self, reply: Reply) -> "RerankResponse":
        return RerankResponse.of(reply, self)


class Result(Out):
    """One document, in the order to use."""

    index: int
    """Its position in the request."""
    relevance_score: float
    """Strictly falls along the results and does not depend on exploration: cut at a threshold as you like."""
    model_score: float
    """What the model says of this document itself."""
    document: dict[str, Any] | None = None
    """As it came, with its text as `text`."""


class Usage(Out):
    """What was read."""

    prompt_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, reply: Reply) -> Self:
        return cls(prompt_tokens=reply.tokens, total_tokens=reply.tokens)


class ApiVersion(Out):
    version: str = "2"


class BilledUnits(Out):
    search_units: int = 1


class Meta(Out):
    """What made this reply."""

    version: str
    epoch: int
    arm: str
    explored: bool
    """Whether the order was drawn instead of the best one."""
    logged: bool
    """Whether the decision is on its way to the log; false is not learned from."""
    degraded: bool
    truncated: list[int]
    """Positions of the documents of which a part was not read."""
    feedback_token: str
    """For a browser: authorises feedback about this decision, as END_USER, and nothing else."""
    api_version: ApiVersion = ApiVersion()
    billed_units: BilledUnits = BilledUnits()

    @classmethod
    def of(cls, reply: Reply) -> Self:
        decision = reply.decision
        return cls(
            version=decision.version,
            epoch=decision.epoch,
            arm=decision.arm,
            explored=decision.choice.explored,
            logged=reply.logged,
            degraded=decision.degraded,
            truncated=list(reply.truncated),
            feedback_token=reply.feedback_token,
        )


class RerankResponse(Out):
    """The ranking; its id is what answers and feedback refer to."""

    id: str
    object: Literal["list"] = "list"
    model: str
    """The line that answered."""
    results: list[Result]
    usage: Usage
    meta: Meta

    @classmethod
    def of(cls, reply: Reply, body: RerankRequest) -> Self:
        texts = body.candidates() if body.return_documents else None
        return cls(
            id=str(reply.decision.id),
            model=reply.decision.line,
            results=[
                Result(
                    index=place.index,
                    relevance_score=place.raw if body.raw_scores else place.relevance,
                    model_score=place.model_raw if body.raw_scores else place.model_relevance,
                    document=texts
                    and documents.returned(body.documents[place.index], texts[place.index]),
                )
                for place in reply.places
            ],
            usage=Usage.of(reply),
            meta=Meta.of(reply),
        )
