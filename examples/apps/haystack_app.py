"""RAG with Haystack: retrieve, rerank, answer. Needs the extra `haystack` (docs/integrations.md).

python -m examples.apps.haystack_app http://127.0.0.1:8000
"""

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import MockChatGenerator
from haystack.components.retrievers import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore

from examples.apps import coffee
from rankloop.integrations.haystack import RankloopRanker

TEMPLATE = """
{% for document in documents %}[{{ loop.index }}] {{ document.content }}
{% endfor %}
{{ question }}
"""


def app(url: str) -> Pipeline:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=text) for text in coffee.PASSAGES])
    messages = [ChatMessage.from_system(coffee.INSTRUCTION), ChatMessage.from_user(TEMPLATE)]
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("ranker", RankloopRanker(url, top_k=3))
    pipeline.add_component("prompt", ChatPromptBuilder(messages, required_variables="*"))
    pipeline.add_component("llm", MockChatGenerator(response_fn=stand_in, model="stand-in"))
    pipeline.connect("retriever.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    return pipeline


def ask(pipeline: Pipeline, question: str) -> str:
    inputs = {"retriever": {"query": question}, "ranker": {"query": question}}
    result = pipeline.run({**inputs, "prompt": {"question": question}})
    return str(result["llm"]["replies"][0].text)


def stand_in(messages: list[ChatMessage]) -> str:
    """What an LLM would say."""
    return coffee.reply(messages[-1].text or "")


if __name__ == "__main__":
    print(ask(app(coffee.url()), coffee.QUESTION))
