"""Dify's plugins for Text Embeddings Inference and for APIs like OpenAI's, and what they ask first."""

from typing import Final
from urllib.error import HTTPError

from bench.compat.client import Call, Client, Raises, Ranking, Target
from bench.compat.recorded import Recorded

APP: Final = Recorded("dify")
NAME: Final = "Dify"
VERSION: Final = APP.version


def rank_tei(call: Call) -> Ranking:
    found = APP.rows("tei", call, listed=None)
    if [each["text"] for each in found] != [call.documents[each["index"]] for each in found]:
        raise AssertionError(f"other texts came back: {found}")
    return [(each["index"], each["score"]) for each in found]


def rank_openai(call: Call) -> Ranking:
    return [(each["index"], each["relevance_score"]) for each in APP.rows("openai", call)]


def rank_vision(call: Call) -> Ranking:
    return [(each["index"], each["relevance_score"]) for each in APP.rows("vision", call)]


CLIENTS: Final = [
    Client(
        name=f"{NAME}, {name}",
        version=VERSION,
        rank=rank,
        unauthorized=Raises(kind=HTTPError, says="401"),
        too_many=Raises(kind=HTTPError, says=too_many),
        overloaded=Raises(kind=HTTPError, says="429"),
    )
    for name, rank, too_many in (
        ("Text Embeddings Inference", rank_tei, "413"),
        ("like OpenAI", rank_openai, "422"),
        ("like OpenAI, documents in parts", rank_vision, "422"),
    )
]


def case_info_says_that_it_is_a_reranker(target: Target) -> None:
    info = APP.reply("info", target.call)

    if list(info["model_type"]) != ["reranker"] or info["max_input_length"] < 1:
        raise AssertionError(f"not what it reads: {info}")
