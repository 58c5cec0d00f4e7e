"""llama-index-postprocessor-cohere-rerank."""

from importlib.metadata import version
from typing import Final

from cohere.errors import UnauthorizedError, UnprocessableEntityError
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank

from bench.compat.client import Call, Client, Raises, Ranking

PACKAGE: Final = "llama-index-postprocessor-cohere-rerank"


def rank(call: Call) -> Ranking:
    postprocessor = CohereRerank(
        api_key=call.key, base_url=call.url, model="any", top_n=len(call.documents)
    )
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in call.documents]
    found = postprocessor.postprocess_nodes(nodes, query_str=call.query)
    return [call.place(each.text, each.score) for each in found]


CLIENTS: Final = [
    Client(
        name=PACKAGE,
        version=version(PACKAGE),
        rank=rank,
        unauthorized=Raises(kind=UnauthorizedError, says="key"),
        too_many=Raises(kind=UnprocessableEntityError, says="more than"),
    )
]
