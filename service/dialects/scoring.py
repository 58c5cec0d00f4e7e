"""vLLM's score API: one query with many texts, or as many queries as texts; scores in input order."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from service.asked import Asked, Reading
from service.dialects import documents
from service.dialects.dialect import (
    SIDES,
    Count,
    Dialect,
    ModelName,
    Out,
    Query,
    Rerank,
    told_by,
)
from service.dialects.documents import MAX_DOCUMENTS, Document
from service.dialects.objects import Usage
from service.errors import Invalid
from service.rerank import Reply
from service.texts import Text

MAX_PAIRS: Final = 1_000
_AT_ONCE: Final = 64
"""Pairs of one request that wait for a score at the same time."""

Queries = TypeAliasType(
    "Queries",
    Annotated[
        Query | Annotated[list[Query], Field(min_length=1, max_length=MAX_PAIRS)],
        Field(description="One for all texts, or as many as there are texts."),
    ],
)
Texts = TypeAliasType(
    "Texts",
    Annotated[
        Text | Annotated[list[Document], Field(min_length=1, max_length=MAX_DOCUMENTS)],
        Field(description="One text, or some."),
    ],
)


def _told_by_sides(schema: dict[str, Any]) -> None:
    """Both sides of one pair of names are given, and are not null."""
    given = {"not": {"type": "null"}}
    schema |= told_by(never=("texts", "passages"))
    schema["not"]["anyOf"].append({"required": ["input"], "not": {"required": ["documents"]}})
    schema["anyOf"] = [
        {"required": list(pair), "properties": dict.fromkeys(pair, given)} for pair in SIDES
    ]


class ScoreRequest(Dialect):
    """Queries and texts, under one of their pairs of names: one query for all texts, or one for each."""

    name: ClassVar = "score"
    model_config = ConfigDict(json_schema_extra=_told_by_sides)

    text_1: Queries | None = None
    """The query, or one for each text."""
    text_2: Texts | None = None
    """The texts."""
    queries: Queries | None = None
    """`text_1` by another name."""
    documents: Texts | None = None
    """`text_2` by another name, beside `queries`."""
    items: Texts | None = None
    """`text_2` by another name, beside `queries`."""
    data_1: Queries | None = None
    """`text_1` by another name."""
    data_2: Texts | None = None
    """`text_2` by another name."""
    truncate_prompt_tokens: Count = None
    """Longer texts are cut there; at what fits the model in any case."""
    model: ModelName = None
    """The line that answers; the service's own line where there is none of that name."""

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
        # A pair alone is no ranking: there is nothing to explore, and nothing to learn.
        alone = [
            self._asked(query, [text], tenant=tenant, request_key=None, alone=True)
            for query, text in zip(queries, texts, strict=True)
        ]
        replies = await _some_at_once(rerank, alone)
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
        """As many queries as texts.  Raises `Invalid`, of what is not used as well."""
        for unread in (self.text_2, self.documents, self.items, self.data_2):
            documents.candidates(_listed(unread), name="texts")
        found = ((name, getattr(self, name), getattr(self, other)) for name, other in SIDES)
        given = next((each for each in found if None not in each), None)
        if given is None:
            raise Invalid("text_1 and text_2: both are needed, or both of another pair of names")
        name, one, other = given
        queries: list[str] = [one] if isinstance(one, str) else one
        texts = _listed(other)
        if len(queries) not in {1, len(texts)}:
            raise Invalid(f"{name}: one for all, or as many as there are texts")
        return queries if len(queries) > 1 else queries * len(texts), texts


async def _some_at_once(rerank: Rerank, asked: Sequence[Asked]) -> list[Reply]:
    """In order; the first failure ends them all, and they never fill the queue by themselves."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Asked) -> Reply:
        async with room:
            return await rerank(each)

    tasks = [asyncio.create_task(one(each)) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _listed(texts: str | list[Document] | None) -> list[Document]:
    return [texts] if isinstance(texts, str) else texts or []


class Score(Out):
    """One pair, in input order."""

    index: int
    """Which pair it is, in input order."""
    score: float
    """In 0..1."""
    object: Literal["score"] = "score"
    """Always `score`."""


class ScoreResponse(Out):
    """Every pair's score."""

    id: str
    """The decision; of pairs with queries of their own, the first one."""
    object: Literal["list"] = "list"
    """Always `list`."""
    created: int
    """Seconds since 1970."""
    model: str
    """The line that answered."""
    data: list[Score]
    """In input order."""
    usage: Usage
    """What was read."""

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
