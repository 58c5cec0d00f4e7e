"""Cohere v1 and v2, Jina, vLLM, Infinity, llama.cpp, Xinference, LiteLLM, and ours, which is all of them and more."""

from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

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
from service.dialects.documents import MAX_DOCUMENTS, FieldedDocument, RankFields, without_fields
from service.rerank import Reply
from service.schemas.scalars import NOTHING_ELSE
from service.texts import Name, Text

_MAX_TAGS: Final = 16
_MAX_TAG: Final = 1_000
_MAX_WINDOWS: Final = 64


Tag: TypeAlias = Annotated[Text, Field(max_length=_MAX_TAG)]
"""What a tag says."""


class RerankRequest(Dialect):
    """A query and the documents that the first stage found for it, in its order."""

    name: ClassVar = "objects"
    model_config = ConfigDict(
        json_schema_extra=told_by(never=("texts", "passages", "top_k", "truncation", *SIDES))
        | without_fields("documents")
    )

    query: Query
    """A string, or an object with `text`."""
    documents: list[FieldedDocument] = Field(min_length=1, max_length=MAX_DOCUMENTS)
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
    """Whether each result carries its document."""
    tags: Annotated[dict[Name, Tag], Field(max_length=_MAX_TAGS), NOTHING_ELSE] | None = None
    """Kept with the decision."""
    rank_fields: RankFields = None
    """Which fields of the documents are their text, in this order."""
    max_tokens_per_doc: Count = None
    """Longer documents are cut there; at what fits the model in any case."""
    max_chunks_per_doc: Count = None
    """A long document is scored in so many windows at most, of which the best counts; 1 when absent, and never more
    than 64."""
    truncate: Switch = True
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
                windows=min(self.max_chunks_per_doc or 1, _MAX_WINDOWS),
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
    """Tokens of all pairs."""
    total_tokens: int
    """The same."""

    @classmethod
    def of(cls, reply: Reply) -> Self:
        return cls(prompt_tokens=reply.tokens, total_tokens=reply.tokens)


class ApiVersion(Out):
    """As Cohere says it."""

    version: str = "2"
    """Of Cohere's API."""


class BilledUnits(Out):
    """As Cohere says it."""

    search_units: int = 1
    """Always 1; nothing is billed."""


class Meta(Out):
    """What made this reply."""

    version: str
    """The model that scored."""
    epoch: int
    """Of the line, at that moment."""
    arm: str
    """Which of the models answered."""
    explored: bool
    """Whether the order was drawn instead of the best one."""
    logged: bool
    """Whether the decision is on its way to the log; false is not learned from."""
    degraded: bool
    """Whether something that it can do without was missing."""
    truncated: list[int]
    """Positions of the documents of which a part was not read."""
    feedback_token: str
    """For a browser: authorises feedback about this decision, as END_USER, and nothing else."""
    api_version: ApiVersion = ApiVersion()
    """As Cohere says it."""
    billed_units: BilledUnits = BilledUnits()
    """As Cohere says it."""

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
    """The decision."""
    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """The line that answered."""
    results: list[Result]
    """Best first."""
    usage: Usage
    """What was read."""
    meta: Meta
    """What made this reply."""

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
