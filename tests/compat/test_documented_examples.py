"""The blocks of docs/integrations.md, each with the names that its surroundings would have."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import MockChatGenerator
from haystack.components.retrievers import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from langchain_core.runnables import RunnableLambda
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices import VectorStoreIndex
from llama_index.core.schema import TextNode

from examples.apps import coffee, haystack_app, langchain_app, llamaindex_app
from rankloop.client import Client, Ranking

AnswerOf = Callable[[str], dict[str, Any]]

DOCUMENT = Path(__file__).parents[2] / "docs" / "integrations.md"


def run(word: str, url: str, **names: Any) -> dict[str, Any]:
    """Runs the block that has this word.  Returns its names."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if word in block)
    exec(block.replace("http://127.0.0.1:8000", url), names)  # noqa: S102 - our own
    return names


def test_langchain(url: str, service: Client, rankings: list[Ranking], answer_of: AnswerOf):
    first_stage = RunnableLambda(langchain_app.first_stage)
    names = run("ContextualCompressionRetriever", url, retriever=first_stage)
    documents = names["retriever"].invoke(coffee.QUESTION)
    said = langchain_app.StandIn().invoke(langchain_app.passages(documents))
    run("decision_of", url, documents=documents, rankloop=service)

    assert answer_of(rankings[0].id)["text"] == said.text
    assert service.decision(rankings[0].id)["feedback"][0]["name"] == "thumb"


def test_llamaindex(url: str, rankings: list[Ranking], answer_of: AnswerOf):
    nodes = [TextNode(text=text) for text in coffee.PASSAGES]
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))
    names = run("as_query_engine", url, index=index, llm=llamaindex_app.StandIn())

    said = names["engine"].query(coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == str(said)


def test_haystack(url: str, rankings: list[Ranking], answer_of: AnswerOf):
    pipeline = Pipeline()
    messages = [ChatMessage.from_user(haystack_app.TEMPLATE)]
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=text) for text in coffee.PASSAGES])
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("prompt", ChatPromptBuilder(messages, required_variables="*"))
    pipeline.add_component("llm", MockChatGenerator(response_fn=haystack_app.stand_in))
    run("RankloopRanker", url, pipeline=pipeline)
    pipeline.connect("prompt.prompt", "llm.messages")

    said = haystack_app.ask(pipeline, coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == said
