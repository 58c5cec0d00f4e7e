"""The rankers of Haystack: Cohere, Jina, Text Embeddings Inference, vLLM and NVIDIA."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from cohere.errors import UnauthorizedError, UnprocessableEntityError
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import (
    HuggingFaceTEIRanker,
    TruncationDirection,
)
from haystack_integrations.components.rankers.jina import JinaRanker
from haystack_integrations.components.rankers.nvidia import NvidiaRanker
from haystack_integrations.components.rankers.vllm import VLLMRanker

from bench.compat.cases import expect_same
from bench.compat.client import Call, Client, Raises, Ranking, Target

NAME: Final = "huggingface-api-haystack"
VERSION: Final = version(NAME)


def rank_cohere(call: Call) -> Ranking:
    ranker = CohereRanker(
        model="any", api_key=_key(call), api_base_url=call.url, top_k=len(call.documents)
    )
    return _ranked(call, ranker.run(**_asked(call)))


def rank_jina(call: Call) -> Ranking:
    ranker = JinaRanker(model="any", api_key=_key(call), base_url=f"{call.url}/v1/rerank")
    found = ranker.run(**_asked(call))
    if not found["meta"]["usage"]["total_tokens"]:
        raise AssertionError(f"nothing was used: {found['meta']}")
    return _ranked(call, found)


def rank_tei(call: Call) -> Ranking:
    return _ranked(call, _tei(call).run(**_asked(call)))


def rank_vllm(call: Call) -> Ranking:
    ranker = VLLMRanker(model="any", api_key=_key(call), api_base_url=f"{call.url}/v1")
    return _ranked(call, ranker.run(**_asked(call)))


def rank_nvidia(call: Call) -> Ranking:
    ranker = NvidiaRanker(
        model="any",
        api_key=_key(call),
        api_url=f"{call.url}/v1",
        top_k=len(call.documents),
        truncate="END",
    )
    return _ranked(call, ranker.run(**_asked(call)))


CLIENTS: Final = [
    Client(
        name="cohere-haystack",
        version=version("cohere-haystack"),
        rank=rank_cohere,
        unauthorized=Raises(kind=UnauthorizedError, says="key"),
        too_many=Raises(kind=UnprocessableEntityError, says="more than"),
    ),
    Client(
        name="jina-haystack",
        version=version("jina-haystack"),
        rank=rank_jina,
        unauthorized=Raises(kind=RuntimeError, says="key"),
        too_many=Raises(kind=RuntimeError, says="more than"),
        overloaded=Raises(kind=RuntimeError, says="too much work"),
    ),
    Client(
        name=NAME,
        version=VERSION,
        rank=rank_tei,
        unauthorized=Raises(kind=RuntimeError, says="key"),
        too_many=Raises(kind=RuntimeError, says="more than"),
    ),
    Client(
        name="vllm-haystack",
        version=version("vllm-haystack"),
        rank=rank_vllm,
        unauthorized=Raises(kind=RuntimeError, says="key"),
        too_many=Raises(kind=RuntimeError, says="more than"),
        overloaded=Raises(kind=RuntimeError, says="too much work"),
    ),
    Client(
        name="nvidia-haystack",
        version=version("nvidia-haystack"),
        rank=rank_nvidia,
        unauthorized=Raises(kind=ValueError, says="key"),
        too_many=Raises(kind=ValueError, says="more than"),
        overloaded=Raises(kind=ValueError, says="too much work"),
        gives_logits=True,
    ),
]


def case_it_may_say_where_to_cut(target: Target) -> None:
    call = target.call

    found = _tei(call).run(**_asked(call), truncation_direction=TruncationDirection.RIGHT)

    expect_same(_ranked(call, found), target.ranking)


def _tei(call: Call) -> HuggingFaceTEIRanker:
    return HuggingFaceTEIRanker(url=call.url, token=_key(call), top_k=len(call.documents))


def _asked(call: Call) -> dict[str, Any]:
    documents = [Document(content=text) for text in call.documents]
    return {"query": call.query, "documents": documents}


def _ranked(call: Call, found: Mapping[str, Any]) -> Ranking:
    return [call.place(each.content, each.score) for each in found["documents"]]


def _key(call: Call) -> Secret:
    return Secret.from_token(call.key)
