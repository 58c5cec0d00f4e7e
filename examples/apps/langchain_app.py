"""RAG with LangChain: retrieve, rerank, answer. Needs the extra `langchain` (docs/integrations.md).

python -m examples.apps.langchain_app http://127.0.0.1:8000
"""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from examples.apps import coffee
from rankloop.integrations.langchain import RankloopRerank


def app(url: str) -> Runnable[str, str]:
    retriever = ContextualCompressionRetriever(
        base_retriever=RunnableLambda(first_stage),
        base_compressor=RankloopRerank(url=url, top_n=3),
    )
    prompt = ChatPromptTemplate(
        [("system", coffee.INSTRUCTION), ("user", "{passages}\n\n{question}")]
    )
    given = {"passages": retriever | passages, "question": RunnablePassthrough()}
    return given | prompt | StandIn() | StrOutputParser()


def first_stage(question: str) -> list[Document]:
    """Stands in for a retriever."""
    del question
    return [
        Document(text, metadata={"score": score})
        for text, score in zip(coffee.PASSAGES, coffee.SCORES, strict=True)
    ]


def passages(documents: list[Document]) -> str:
    return coffee.numbered([document.page_content for document in documents])


class StandIn(SimpleChatModel):
    """Stands in for an LLM."""

    model_name: str = "stand-in"

    @property
    def _llm_type(self) -> str:
        return self.model_name

    def _call(self, messages: list[BaseMessage], *_: object, **__: object) -> str:
        return coffee.reply(messages[-1].text)


if __name__ == "__main__":
    print(app(coffee.url()).invoke(coffee.QUESTION))
