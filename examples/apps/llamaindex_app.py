"""RAG with LlamaIndex: retrieve, rerank, answer. Needs the extra `llamaindex` (docs/integrations.md).

python -m examples.apps.llamaindex_app http://127.0.0.1:8000
"""

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import (
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from examples.apps import coffee
from rankloop.integrations.llamaindex import RankloopRerank


def app(url: str) -> BaseQueryEngine:
    return CitationQueryEngine(
        FirstStage(), llm=StandIn(), node_postprocessors=[RankloopRerank(url=url, top_n=3)]
    )


class FirstStage(BaseRetriever):
    """Stands in for an index."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        del query_bundle
        return [
            NodeWithScore(node=TextNode(text=text), score=score)
            for text, score in zip(coffee.PASSAGES, coffee.SCORES, strict=True)
        ]


class StandIn(CustomLLM):
    """Stands in for an LLM."""

    model: str = "stand-in"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    @llm_completion_callback()
    def complete(self, prompt: str, *_: object, **__: object) -> CompletionResponse:
        return CompletionResponse(text=coffee.reply(prompt))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, *_: object, **__: object) -> CompletionResponseGen:
        said = coffee.reply(prompt)
        return (
            CompletionResponse(text=said[: end + 1], delta=said[end]) for end in range(len(said))
        )


if __name__ == "__main__":
    print(app(coffee.url()).query(coffee.QUESTION))
