"""`POST /v1/rerank`, in and out."""

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from contract.records import Candidate
from service.asked import Asked
from service.rerank import Reply
from service.schemas.strict import Strict
from service.texts import Name, Text

MAX_DOCUMENTS: Final = 10_000
"""No setting goes beyond it."""
_MAX_TAGS: Final = 16


class Document(Strict):
    """One candidate."""

    text: Text
    id: Name | None = None
    """Your own id of it; feedback may name it instead of a position."""
    metadata: dict[str, JsonValue] | None = None
    """Given back with `return_documents`; not stored."""
    score: float | None = None
    """The first stage's own score, higher is better: an input of the model."""


def _as_document(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


def _not_blank(query: str) -> str:
    if not query.strip():
        raise ValueError("is empty")
    return query


AnyDocument: TypeAlias = Annotated[
    Document, BeforeValidator(_as_document, json_schema_input_type=str | Document)
]


class RerankRequest(Strict):
    """A query and the documents that the first stage found for it, in its order."""

    query: Annotated[Text, AfterValidator(_not_blank)]
    documents: list[AnyDocument] = Field(min_length=1, max_length=MAX_DOCUMENTS, fail_fast=True)
    """In the order of the first stage, best first: the order is an input of the model."""
    top_n: int | None = Field(default=None, ge=1)
    """How many come back; all when absent."""
    model: Name | None = None
    """The line that answers; the service's own line when absent."""
    session_id: Name | None = None
    """The same session, query and documents keep their order for ten minutes."""
    explore: Literal["auto", "never"] | None = "auto"
    """`never` always gets the best order, and is not learned from."""
    return_documents: bool | None = False
    tags: dict[Name, Text] | None = Field(default=None, max_length=_MAX_TAGS)
    """Kept with the decision."""

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=self.query,
            candidates=tuple(
                Candidate(text=each.text, key=each.id, score=each.score) for each in self.documents
            ),
            top_n=self.top_n,
            session=self.session_id,
            explore=self.explore != "never",
            tags=self.tags or {},
            request_key=request_key,
        )


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ReturnedDocument(_Out):
    text: str
    id: str | None = None
    metadata: dict[str, Any] | None = None


class Result(_Out):
    """One document, in the order to use."""

    index: int
    """Its position in the request."""
    relevance_score: float
    """Strictly falls along the results and does not depend on exploration: cut at a threshold as you like."""
    model_score: float
    """What the model says of this document itself."""
    document: ReturnedDocument | None = None


class Usage(_Out):
    total_tokens: int


class Meta(_Out):
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
    """Positions of the documents whose end did not fit the model."""
    feedback_token: str
    """For a browser: authorises feedback about this decision, as END_USER, and nothing else."""


class RerankResponse(_Out):
    """The ranking; its id is what answers and feedback refer to."""

    id: str
    results: list[Result]
    model: str
    usage: Usage
    meta: Meta

    @classmethod
    def of(cls, reply: Reply, body: RerankRequest) -> Self:
        decision = reply.decision
        scores = zip(
            decision.choice.shown.tolist(), reply.relevance, reply.model_scores, strict=True
        )
        return cls(
            id=str(decision.id),
            results=[
                Result(
                    index=index,
                    relevance_score=relevance,
                    model_score=own,
                    document=_returned(body.documents[index]) if body.return_documents else None,
                )
                for index, relevance, own in scores
            ],
            model=decision.line,
            usage=Usage(total_tokens=reply.tokens),
            meta=Meta(
                version=decision.version,
                epoch=decision.epoch,
                arm=decision.arm,
                explored=decision.choice.explored,
                logged=reply.logged,
                degraded=decision.degraded,
                truncated=list(reply.truncated),
                feedback_token=reply.feedback_token,
            ),
        )


def _returned(document: Document) -> ReturnedDocument:
    return ReturnedDocument(text=document.text, id=document.id, metadata=document.metadata)
