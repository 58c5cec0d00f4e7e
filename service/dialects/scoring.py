"""vLLM's score API: one query with many texts, or as many queries as texts; scores in input order."""

import asyncio
import time
from typing import ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, Field

from service.asked import Asked, Reading
from service.dialects import documents
from service.dialects.dialect import Count, Dialect, ModelName, Out, Rerank
from service.dialects.documents import MAX_DOCUMENTS, Document
from service.dialects.objects import Usage
from service.errors import Invalid, TooMany
from service.rerank import Reply

Side: TypeAlias = str | list[Document]

SIDES: Final = (
    ("text_1", "text_2"),
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
)
"""What queries and texts are called."""
MAX_PAIRS: Final = 1_000


class ScoreRequest(Dialect):
    """Queries and texts, under one of their pairs of names: one query for all texts, or one for each."""

    name: ClassVar = "score"

    text_1: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    text_2: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    queries: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    documents: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    items: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    data_1: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    data_2: Side | None = Field(default=None, max_length=MAX_DOCUMENTS)
    truncate_prompt_tokens: Count = None
    """Longer texts are cut there; at what fits the model in any case."""
    model: ModelName = None

    def to_asked(self, *, tenant: str, request_key: str | None) -> Asked:
        """One query, whose texts are ranked as any others: an app sorts them by their scores."""
        (query, *_), texts = self._sides()
        return self._asked(query, texts, tenant=tenant, request_key=request_key)

    def to_body(self, reply: Reply) -> "ScoreResponse":
        return ScoreResponse.of([reply])

    async def answered(
        self, rerank: Rerank, *, tenant: str, request_key: str | None
    ) -> tuple[Reply, BaseModel]:
        queries, texts = self._sides()
        if len(set(queries)) == 1:
            return await super().answered(rerank, tenant=tenant, request_key=request_key)
        if len(queries) > MAX_PAIRS:
            raise TooMany(f"more than {MAX_PAIRS} pairs with queries of their own")
        # A pair alone is no ranking: there is nothing to explore, and nothing to learn.
        replies = await asyncio.gather(
            *(
                rerank(self._asked(query, [text], tenant=tenant, request_key=None, alone=True))
                for query, text in zip(queries, texts, strict=True)
            )
        )
        return replies[0], ScoreResponse.of(replies)

    def _asked(
        self,
        query: str,
        texts: list[Document],
        *,
        tenant: str,
        request_key: str | None,
        alone: bool = False,
    ) -> Asked:
        return Asked(
            tenant=tenant,
            line=self.model,
            query=query,
            candidates=documents.candidates(texts, name="texts"),
            explore=not alone,
            log=not alone,
            request_key=request_key,
            reading=Reading(max_tokens=self.truncate_prompt_tokens),
        )

    def _sides(self) -> tuple[list[str], list[Document]]:
        """As many queries as texts.  Raises `Invalid`."""
        names = next(
            ((one, two) for one, two in SIDES if self._listed(one) and self._listed(two)), None
        )
        if names is None:
            raise Invalid("text_1 and text_2: both are needed, and neither may be empty")
        queries = [
            each.text for each in documents.candidates(self._listed(names[0]), name=names[0])
        ]
        texts = self._listed(names[1])
        if len(queries) not in {1, len(texts)}:
            raise Invalid(f"{names[0]}: one for all, or as many as there are {names[1]}")
        for query in queries:
            if not query.strip():
                raise Invalid(f"{names[0]}: is empty")
        return queries if len(queries) > 1 else queries * len(texts), texts

    def _listed(self, name: str) -> list[Document]:
        value: Side | None = getattr(self, name)
        return [value] if isinstance(value, str) else value or []


class Score(Out):
    """One pair, in input order."""

    index: int
    score: float
    object: Literal["score"] = "score"


class ScoreResponse(Out):
    """Every pair's score."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage

    @classmethod
    def of(cls, replies: list[Reply]) -> "ScoreResponse":
        """Of one ranking, or of pairs that were each asked alone."""
        first, tokens = replies[0], sum(reply.tokens for reply in replies)
        scores = [place.relevance for reply in replies for place in reply.places]
        if len(replies) == 1:
            by_index = sorted(first.places, key=lambda place: place.index)
            scores = [place.relevance for place in by_index]
        return cls(
            id=str(first.decision.id),
            created=int(time.time()),
            model=first.decision.line,
            data=[Score(index=index, score=score) for index, score in enumerate(scores)],
            usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        )
