"""A typed client of the service, for threads and for asyncio; needs httpx alone.

with Client("http://127.0.0.1:8000") as rankloop:
    ranking = rankloop.rerank(question, texts, top_n=3)
    rankloop.answer(ranking.id, used_k=3, text=ask_llm(question, ranking.texts))
    rankloop.feedback(ranking.id, "thumb", True)
"""

from rankloop.client.clients import AsyncClient, Client
from rankloop.client.errors import (
    APIError,
    AuthenticationError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Overloaded,
    RankloopError,
    Unavailable,
    Unreachable,
    Unreadable,
)
from rankloop.client.retries import Retries
from rankloop.client.values import (
    Answered,
    Document,
    Feedback,
    Kept,
    Matched,
    Ranked,
    Ranking,
    Refused,
)

__all__ = [
    "APIError",
    "Answered",
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "Conflict",
    "Document",
    "Feedback",
    "Gone",
    "Invalid",
    "Kept",
    "Matched",
    "NotFound",
    "Overloaded",
    "Ranked",
    "Ranking",
    "RankloopError",
    "Refused",
    "Retries",
    "Unavailable",
    "Unreachable",
    "Unreadable",
]
