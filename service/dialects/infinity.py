"""Infinity: as `objects`, but for the documents that come back, which are strings.

Its client in LiteLLM fails on objects, those of vLLM and Cohere on strings, and all three send the same body: this is
the one dialect that shows in the path.
"""

from typing import Literal, Self

from service.dialects.dialect import Out
from service.dialects.objects import Meta, RerankResponse, Usage


class StringResult(Out):
    """One document, in the order to use."""

    index: int
    """Its position in the request."""
    relevance_score: float
    """Strictly falls along the results and does not depend on exploration."""
    model_score: float
    """What the model says of this document itself."""
    document: str | None = None
    """Its text."""


class StringsResponse(Out):
    """Best first."""

    id: str
    """Of the decision."""
    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """The line that answered."""
    results: list[StringResult]
    """Best first."""
    usage: Usage
    """What was read."""
    meta: Meta
    """What made this reply."""

    @classmethod
    def of(cls, answer: RerankResponse) -> Self:
        return cls(
            id=answer.id,
            model=answer.model,
            results=[
                StringResult(
                    index=each.index,
                    relevance_score=each.relevance_score,
                    model_score=each.model_score,
                    document=None if each.document is None else each.document["text"],
                )
                for each in answer.results
            ],
            usage=answer.usage,
            meta=answer.meta,
        )
