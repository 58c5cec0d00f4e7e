"""RAGFlow with each of the providers that take a URL; its Hugging Face one sends 8 texts a call, and no key."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.error import HTTPError

from bench.compat.cases import expect_same
from bench.compat.client import Call, Client, Raises, Ranking, Target
from bench.compat.recorded import Recorded, best_first

APP: Final = Recorded("ragflow")
NAME: Final = "RAGFlow, HuggingFace"
VERSION: Final = APP.version
PART: Final = 8


def rank(
    call: Call, *, provider: str, listed: str = "results", score: str = "relevance_score"
) -> Ranking:
    """As it fills a row of zeros by position."""
    row = [0.0] * len(call.documents)
    for each in APP.rows(provider, call, listed=listed):
        row[each["index"]] = each[score]
    return best_first(row)


def _client(provider: str, ask: Callable[[Call], Ranking], *, gives_logits: bool = False) -> Client:
    return Client(
        name=f"RAGFlow, {provider}",
        version=VERSION,
        rank=ask,
        unauthorized=Raises(kind=HTTPError, says="401"),
        too_many=Raises(kind=HTTPError, says="422"),
        overloaded=Raises(kind=HTTPError, says="429"),
        gives_logits=gives_logits,
    )


CLIENTS: Final = [
    _client("Xinference", partial(rank, provider="xinference")),
    _client("OpenAI-API-Compatible", partial(rank, provider="openai")),
    _client(
        "NVIDIA",
        partial(rank, provider="nvidia", listed="rankings", score="logit"),
        gives_logits=True,
    ),
]


def case_each_part_of_8_texts_is_ranked_as_ours(target: Target) -> None:
    for start in range(0, len(target.documents), PART):
        part = replace(target.open_call, documents=target.documents[start : start + PART])
        ours = rank(part, provider="openai")

        found = APP.rows("huggingface", part, listed=None)

        expect_same([(each["index"], each["score"]) for each in found], ours)
