"""mixedbread, and mixedbread-ai as it was before."""

from importlib.metadata import version
from typing import Final

import mixedbread
from mixedbread_ai import errors as old_errors
from mixedbread_ai.client import MixedbreadAI

from bench.compat.client import Call, Client, Raises, Ranking


def rank(call: Call) -> Ranking:
    client = mixedbread.Mixedbread(api_key=call.key, base_url=call.url)
    reply = client.rerank(query=call.query, input=call.documents)
    return [(each.index, each.score) for each in reply.data]


def rank_old(call: Call) -> Ranking:
    client = MixedbreadAI(api_key=call.key, base_url=call.url)
    reply = client.reranking(
        query=call.query, input=call.documents, request_options={"max_retries": 2}
    )
    return [(each.index, each.score) for each in reply.data]


CLIENTS: Final = [
    Client(
        name="mixedbread",
        version=version("mixedbread"),
        rank=rank,
        unauthorized=Raises(kind=mixedbread.AuthenticationError, says="key"),
        too_many=Raises(kind=mixedbread.UnprocessableEntityError, says="more than"),
    ),
    Client(
        name="mixedbread-ai",
        version=version("mixedbread-ai"),
        rank=rank_old,
        unauthorized=Raises(kind=old_errors.UnauthorizedError, says="key"),
        too_many=Raises(kind=old_errors.UnprocessableEntityError, says="more than"),
    ),
]
