"""Open WebUI's external reranker: it wants every document's score, and sorts them itself."""

from typing import Final
from urllib.error import HTTPError

from bench.compat.client import Call, Client, Raises, Ranking
from bench.compat.recorded import Recorded, best_first

APP: Final = Recorded("open_webui")


def rank(call: Call) -> Ranking:
    results = APP.rows("rerank", call)
    scores = [each["relevance_score"] for each in sorted(results, key=lambda each: each["index"])]
    if len(scores) != len(call.documents):
        raise AssertionError(f"{len(scores)} scores of {len(call.documents)} documents")
    return best_first(scores)


CLIENTS: Final = [
    Client(
        name="Open WebUI",
        version=APP.version,
        rank=rank,
        unauthorized=Raises(kind=HTTPError, says="401"),
        too_many=Raises(kind=HTTPError, says="422"),
        overloaded=Raises(kind=HTTPError, says="429"),
    )
]
