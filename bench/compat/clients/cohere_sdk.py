"""cohere, in whichever release is installed: both of its clients, and what only they do."""

import asyncio
import time
from importlib.metadata import version
from itertools import pairwise
from typing import Final

import cohere
import httpx
from cohere.errors import UnauthorizedError, UnprocessableEntityError

from bench.compat.cases import expect_same
from bench.compat.client import Call, Client, Raises, Ranking, Target
from bench.compat.overload import overloaded

NAME: Final = "cohere"
VERSION: Final = version(NAME)
MODEL: Final = "rerank-v3.5"


def rank_v2(call: Call) -> Ranking:
    client = cohere.ClientV2(call.key, base_url=call.url)
    reply = client.rerank(model=MODEL, query=call.query, documents=call.documents)
    return [(each.index, each.relevance_score) for each in reply.results]


def rank_v1(call: Call) -> Ranking:
    client = cohere.Client(call.key, base_url=call.url)
    reply = client.rerank(
        model=MODEL, query=call.query, documents=call.documents, return_documents=True
    )
    for each in reply.results:
        if each.document is None or each.document.text != call.documents[each.index]:
            raise AssertionError(f"another document came back: {each}")
    return [(each.index, each.relevance_score) for each in reply.results]


CLIENTS: Final = [
    Client(
        name=name,
        version=VERSION,
        rank=rank,
        unauthorized=Raises(kind=UnauthorizedError, says="key"),
        too_many=Raises(kind=UnprocessableEntityError, says="more than"),
    )
    for name, rank in (("cohere ClientV2", rank_v2), ("cohere Client", rank_v1))
]


def case_its_asynchronous_client_ranks_too(target: Target) -> None:
    async def rank() -> Ranking:
        client = cohere.AsyncClientV2(target.key, base_url=target.url)
        reply = await client.rerank(model=MODEL, query=target.query, documents=target.documents)
        return [(each.index, each.relevance_score) for each in reply.results]

    expect_same(asyncio.run(rank()), target.ranking)


def case_a_base_url_may_end_in_v1(target: Target) -> None:
    client = cohere.ClientV2(target.key, base_url=f"{target.url}/v1")

    reply = client.rerank(model=MODEL, query=target.query, documents=target.documents)

    expect_same([(each.index, each.relevance_score) for each in reply.results], target.ranking)


def case_objects_are_ranked_by_the_fields_named(target: Target) -> None:
    client = cohere.Client(target.key, base_url=target.url)
    documents = [{"page": "1", "body": text} for text in target.documents]

    reply = client.rerank(
        model=MODEL, query=target.query, documents=documents, rank_fields=["body"], top_n=3
    )

    expect_same([(each.index, each.relevance_score) for each in reply.results], target.ranking[:3])


def case_it_waits_as_long_as_retry_after_says(target: Target) -> None:
    replies: list[tuple[float, httpx.Response]] = []

    def note(reply: httpx.Response) -> None:
        replies.append((time.monotonic(), reply))

    with overloaded(target.open_url), httpx.Client(event_hooks={"response": [note]}) as http:
        client = cohere.ClientV2(target.key, base_url=target.open_url, httpx_client=http)
        client.rerank(model=MODEL, query=target.query, documents=target.documents)

    if [reply.status_code for _, reply in replies] != [429, 200]:
        raise AssertionError(f"not one refusal and one success: {replies}")
    for (refused_at, refused), (answered_at, _) in pairwise(replies):
        if answered_at - refused_at < int(refused.headers["retry-after"]):
            raise AssertionError(f"asked again after {answered_at - refused_at:.2f} s")
