"""voyageai: its own server's client, with `base_url`."""

from importlib.metadata import version
from typing import Final

import voyageai
from voyageai.error import AuthenticationError, MalformedRequestError

from bench.compat.client import Call, Client, Raises, Ranking


def rank(call: Call) -> Ranking:
    client = voyageai.Client(api_key=call.key, base_url=f"{call.url}/v1", max_retries=3)
    reply = client.rerank(call.query, call.documents, model="rerank-2.5")
    if not reply.total_tokens:
        raise AssertionError("nothing was used")
    return [(each.index, each.relevance_score) for each in reply.results]


CLIENTS: Final = [
    Client(
        name="voyageai",
        version=version("voyageai"),
        rank=rank,
        unauthorized=Raises(kind=AuthenticationError, says="key"),
        too_many=Raises(kind=MalformedRequestError, says="more than"),
    )
]
