"""LiteLLM: one function, and five other servers' clients behind it."""

from functools import partial
from importlib.metadata import version
from typing import Final

import litellm
from litellm.exceptions import AuthenticationError, RateLimitError

from bench.compat.client import Call, Client, Raises, Ranking

VERSION: Final = version("litellm")


def rank(call: Call, *, model: str, path: str) -> Ranking:
    reply = litellm.rerank(
        model=model,
        query=call.query,
        documents=call.documents,
        top_n=len(call.documents),
        api_base=call.url + path,
        api_key=call.key,
    )
    for each in reply.results:
        if each["document"]["text"] != call.documents[each["index"]]:
            raise AssertionError(f"another document came back: {each}")
    return [(each["index"], each["relevance_score"]) for each in reply.results]


CLIENTS: Final = [
    Client(
        name=f"litellm {model.partition('/')[0]} {path}".strip(),
        version=VERSION,
        rank=partial(rank, model=model, path=path),
        unauthorized=Raises(kind=AuthenticationError, says="key"),
        too_many=Raises(kind=Exception, says="more than"),
        overloaded=Raises(kind=RateLimitError, says="too much work"),
    )
    for model, path in (
        ("cohere/any", ""),
        ("cohere/any", "/v1/rerank"),
        ("infinity/any", "/infinity"),
        ("hosted_vllm/any", ""),
        ("huggingface/any", ""),
    )
]
