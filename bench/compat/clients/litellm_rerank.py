"""LiteLLM: one function, and five other servers' clients behind it."""

from functools import partial
from importlib.metadata import version
from typing import Final

import litellm
from litellm.exceptions import APIError, AuthenticationError, BadRequestError, RateLimitError

from bench.compat.client import Call, Client, Raises, Ranking

VERSION: Final = version("litellm")

litellm.suppress_debug_info = True


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
        too_many=Raises(kind=too_many, says="more than"),
        overloaded=Raises(kind=RateLimitError, says="too much work"),
    )
    for model, path, too_many in (
        ("cohere/any", "", BadRequestError),
        ("cohere/any", "/v1/rerank", BadRequestError),
        ("infinity/any", "/infinity", BadRequestError),
        ("hosted_vllm/any", "", BadRequestError),
        ("huggingface/any", "", APIError),  # 413, for which it has no class of its own
    )
]
