"""Every call of the client as data: what is asked, and how the reply is read. Does no I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from rankloop.client.errors import Unreachable, Unreadable, error_of
from rankloop.client.values import (
    Answered,
    Document,
    Documents,
    Feedback,
    Id,
    Kept,
    Matched,
    Ranked,
    Ranking,
    Refused,
    SourceType,
    Value,
)

T = TypeVar("T")

_REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, the same each time it is sent."""

    method: str
    path: str
    read: Callable[[Any], T]
    """From the JSON of the reply."""
    json: object = None
    params: Mapping[str, str] | None = None
    key: str | None = None
    """Its Idempotency-Key: sent again, it is stored once."""

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        headers = None if self.key is None else {"Idempotency-Key": self.key}
        return http.build_request(
            self.method, self.path, json=self.json, params=self.params, headers=headers
        )

    def result(self, outcome: httpx.Response | httpx.RequestError) -> T:
        """What the call comes to.  Raises `RankloopError`."""
        if isinstance(outcome, httpx.RequestError):
            raise Unreachable(f"{type(outcome).__name__}: {outcome}") from outcome
        if not outcome.is_success:
            raise error_of(outcome)
        try:
            return self.read(outcome.json())
        except (ValueError, LookupError, TypeError) as unknown:
            raise Unreadable(f"{self.method} {self.path}: not a reply of Rankloop") from unknown


def rerank(
    query: str,
    documents: Documents,
    *,
    top_n: int | None = None,
    session_id: str | None = None,
    explore: Literal["auto", "never"] = "auto",
    tags: Mapping[str, str] | None = None,
    model: str | None = None,
    max_tokens_per_doc: int | None = None,
    max_chunks_per_doc: int | None = None,
    truncate: bool = True,
    raw_scores: bool = False,
    rank_fields: Sequence[str] | None = None,
    idempotency_key: str | None = None,
) -> Call[Ranking]:
    """Ranks the documents, given in your first stage's order, best first.

    top_n: how many come back, all without.
    session_id: the same session, query and documents keep their order for ten minutes.
    explore: `never` always gets the best order, and is not learned from.
    model: the line that answers.
    max_tokens_per_doc: longer documents are cut there; at what fits the model in any case.
    max_chunks_per_doc: a long document is read in so many windows at most, of which the best counts.
    truncate: False refuses documents that do not fit, instead of cutting them.
    raw_scores: logits instead of scores in 0..1.
    rank_fields: what is read of a document, in this order: `text`, or fields of its metadata, which then are sent.
    """
    sent = [Document(text=each) if isinstance(each, str) else each for each in documents]
    given = _given(
        top_n=top_n,
        session_id=session_id,
        tags=tags,
        model=model,
        max_tokens_per_doc=max_tokens_per_doc,
        max_chunks_per_doc=max_chunks_per_doc,
        rank_fields=None if rank_fields is None else list(rank_fields),
    )
    body = {
        "query": query,
        "documents": [_document(each, rank_fields or ()) for each in sent],
        "explore": explore,
        "truncate": truncate,
        "raw_scores": raw_scores,
        **given,
    }
    return Call(
        method="POST",
        path="/v1/rerank",
        json=body,
        key=idempotency_key or uuid4().hex,
        read=lambda reply: _ranking(reply, sent),
    )


def answer(
    decision_id: Id,
    *,
    text: str | None = None,
    reference: str | None = None,
    used_k: int | None = None,
    used: Sequence[int] | None = None,
    citations: Sequence[int] | None = None,
    model: str | None = None,
    prompt_version: str | None = None,
    latency_ms: float | None = None,
    occurred_at: datetime | None = None,
) -> Call[Answered]:
    """Says what the LLM did with the documents. A decision has one answer: the same again changes nothing.

    used_k: how many of the results, from the top, went into the prompt.
    used: or which documents did, as request positions in the prompt's order. Without either, all that were shown.
    citations: request positions too.
    reference: the right answer, where one is known, as in test traffic.
    """
    body = _given(
        text=text,
        reference=reference,
        used_k=used_k,
        used=None if used is None else list(used),
        citations=None if citations is None else list(citations),
        model=model,
        prompt_version=prompt_version,
        latency_ms=latency_ms,
        occurred_at=_time(occurred_at),
    )
    path = f"/v1/decisions/{_part(decision_id)}/answer"
    return Call(method="POST", path=path, json=body, read=_answered)


def feedback(
    decision_id: Id,
    name: str,
    value: Value | None = None,
    *,
    error: str | None = None,
    document: int | str | None = None,
    source: SourceType = "END_USER",
    source_id: str = "app",
    rationale: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
    supersedes: Id | None = None,
    judge: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[Kept]:
    """Says how good the answer was, or one of its documents: the fields of `Feedback`."""
    said = Feedback(
        decision_id=decision_id,
        name=name,
        value=value,
        error=error,
        document=document,
        source=source,
        source_id=source_id,
        rationale=rationale,
        metadata=metadata,
        occurred_at=occurred_at,
        supersedes=supersedes,
        judge=judge,
    )
    key = idempotency_key or uuid4().hex
    return Call(method="POST", path="/v1/feedback", json=_statement(said), key=key, read=_kept)


def feedback_batch(
    items: Sequence[Feedback], *, idempotency_key: str | None = None
) -> Call[list[Kept | Refused]]:
    """Says many things at once, up to 1,000: one result for each, in order; a refused one does not touch the others."""
    return Call(
        method="POST",
        path="/v1/feedback/batch",
        json={"items": [_statement(item) for item in items]},
        key=idempotency_key or uuid4().hex,
        read=lambda reply: [_kept_or_refused(result) for result in reply["results"]],
    )


def delete_feedback(feedback_id: Id, *, decision_id: Id) -> Call[Kept]:
    """Takes a statement back: from now on it counts for nothing. It stays in the log."""
    path = f"/v1/feedback/{_part(feedback_id)}"
    params = {"decision_id": str(decision_id)}
    return Call(method="DELETE", path=path, params=params, read=_kept)


def decision(decision_id: Id) -> Call[dict[str, Any]]:
    """Everything that is remembered of a decision, as `GET /v1/decisions/{id}` has it."""
    return Call(method="GET", path=f"/v1/decisions/{_part(decision_id)}", read=dict)


def match(query: str, used: Sequence[str], *, within_s: float | None = None) -> Call[Matched]:
    """The decision that was made from this query and showed these documents, for an app that lost its id.

    used: the documents of the prompt, each as its text or as the SHA-256 of it in hexadecimal.
    within_s: how long ago it may have been made.
    """
    body = {"query": query, "used": list(used), **_given(within_s=within_s)}
    return Call(
        method="POST",
        path="/v1/decisions/match",
        json=body,
        read=lambda reply: Matched(
            decision_id=str(reply["decision_id"]),
            used=tuple(reply["used"]),
            answered=reply["answered"],
        ),
    )


def _document(document: Document, fields: Sequence[str]) -> dict[str, Any]:
    """Of its metadata only the fields that are asked for, as far as the service can read them."""
    metadata = document.metadata or {}
    read = {name: metadata.get(name) for name in fields}
    return {
        **{name: value for name, value in read.items() if isinstance(value, str | int | float)},
        **_given(text=document.text, id=document.id, score=document.score),
    }


def _ranking(reply: Mapping[str, Any], sent: Sequence[Document]) -> Ranking:
    meta = reply["meta"]
    return Ranking(
        id=reply["id"],
        results=tuple(
            Ranked(
                index=result["index"],
                relevance_score=result["relevance_score"],
                model_score=result["model_score"],
                document=sent[result["index"]],
            )
            for result in reply["results"]
        ),
        line=reply["model"],
        version=meta["version"],
        epoch=meta["epoch"],
        arm=meta["arm"],
        explored=meta["explored"],
        logged=meta["logged"],
        degraded=meta["degraded"],
        truncated=tuple(meta["truncated"]),
        total_tokens=reply["usage"]["total_tokens"],
        feedback_token=meta["feedback_token"],
    )


def _answered(reply: Mapping[str, Any]) -> Answered:
    return Answered(
        decision_id=reply["decision_id"],
        status=reply["status"],
        used_k=reply["used_k"],
        used_is_prefix=reply.get("used_is_prefix"),
    )


def _kept(reply: Mapping[str, Any]) -> Kept:
    return Kept(
        feedback_id=reply["feedback_id"],
        decision_id=reply["decision_id"],
        status=reply["status"],
    )


def _kept_or_refused(result: Mapping[str, Any]) -> Kept | Refused:
    if result["status"] != _REFUSED:
        return _kept(result)
    return Refused(status=result["code"], type=result["type"], detail=result["detail"])


def _statement(said: Feedback) -> dict[str, Any]:
    return {
        "decision_id": str(said.decision_id),
        "name": said.name,
        "source": {"type": said.source, "id": said.source_id},
        **_given(
            value=said.value,
            error=said.error,
            document=_reference(said.document),
            rationale=said.rationale,
            metadata=said.metadata,
            occurred_at=_time(said.occurred_at),
            supersedes=None if said.supersedes is None else str(said.supersedes),
            judge=said.judge,
        ),
    }


def _reference(document: int | str | None) -> dict[str, Any] | None:
    if document is None:
        return None
    return {"id": document} if isinstance(document, str) else {"index": document}


def _given(**fields: object) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in fields.items() if value is not None}


def _time(at: datetime | None) -> str | None:
    """A time without a zone is the machine's own."""
    return None if at is None else at.astimezone().isoformat()


def _part(id_: Id) -> str:
    """An id as one part of a path, whatever somebody else put into it."""
    return quote(str(id_), safe="")
