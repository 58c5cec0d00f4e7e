"""llama-index-postprocessor-tei-rerank: it sends the key without `Bearer`, and reads no status.

What it gets instead of a ranking fails its own assertion: one entry for each text.
"""

from importlib.metadata import version
from typing import Final

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from bench.compat.client import Call, Client, Raises, Ranking

PACKAGE: Final = "llama-index-postprocessor-tei-rerank"


def rank(call: Call) -> Ranking:
    postprocessor = TextEmbeddingInference(
        base_url=call.url, auth_token=call.key, top_n=len(call.documents)
    )
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in call.documents]
    found = postprocessor.postprocess_nodes(nodes, query_str=call.query)
    return [call.place(each.text, each.score) for each in found]


CLIENTS: Final = [
    Client(
        name=PACKAGE,
        version=version(PACKAGE),
        rank=rank,
        unauthorized=Raises(kind=AssertionError),
        too_many=Raises(kind=AssertionError),
        overloaded=Raises(kind=AssertionError),
    )
]
