"""llama-index-postprocessor-jinaai-rerank: it never retries."""

from importlib.metadata import version
from typing import Final

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.jinaai_rerank import JinaRerank

from bench.compat.client import Call, Client, Raises, Ranking

PACKAGE: Final = "llama-index-postprocessor-jinaai-rerank"


def rank(call: Call) -> Ranking:
    postprocessor = JinaRerank(
        api_key=call.key, base_url=f"{call.url}/v1", model="any", top_n=len(call.documents)
    )
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in call.documents]
    found = postprocessor.postprocess_nodes(nodes, query_str=call.query)
    return [call.place(each.text, each.score) for each in found]


CLIENTS: Final = [
    Client(
        name=PACKAGE,
        version=version(PACKAGE),
        rank=rank,
        unauthorized=Raises(kind=RuntimeError, says="key"),
        too_many=Raises(kind=RuntimeError, says="more than"),
        overloaded=Raises(kind=RuntimeError, says="too much work"),
    )
]
