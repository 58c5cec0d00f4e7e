"""LangChain against a live service: whichever way an app is put together, its answers arrive."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from examples.apps import coffee
from examples.apps.langchain_app import StandIn, app, first_stage, passages
from rankloop.client import Client, Ranking
from rankloop.integrations.langchain import RankloopRerank, decision_of

AnswerOf = Callable[[str], dict[str, Any]]


def retriever(url: str) -> ContextualCompressionRetriever:
    return ContextualCompressionRetriever(
        base_retriever=RunnableLambda(first_stage),
        base_compressor=RankloopRerank(url=url, top_n=3),
    )


class LastLine(StandIn):
    """Says the question again."""

    def _call(self, messages: list[BaseMessage], *_: object, **__: object) -> str:
        return messages[-1].text.splitlines()[-1]


def chain(
    found: Runnable[str, list[Document]], llm: Runnable[Any, Any] | None = None
) -> Runnable[str, str]:
    prompt = ChatPromptTemplate([("user", "{passages}\n\n{question}")])
    given = {"passages": found | passages, "question": RunnablePassthrough()}
    return given | prompt | (llm or StandIn()) | StrOutputParser()


def test_a_stream_is_reported_when_it_has_been_read(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    said = "".join(app(url).stream(coffee.QUESTION))

    assert answer_of(rankings[0].id)["text"] == said


async def test_an_app_may_be_asynchronous(url: str, rankings: list[Ranking], answer_of: AnswerOf):
    said = await app(url).ainvoke(coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == said


async def test_an_asynchronous_stream_is_reported(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    said = "".join([part async for part in app(url).astream(coffee.QUESTION)])

    assert answer_of(rankings[0].id)["text"] == said


def test_answers_of_a_batch_go_to_their_own_decisions(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    questions = [f"{coffee.QUESTION} {number}" for number in range(20)]

    chain(retriever(url), llm=LastLine()).batch(questions)

    answers = [answer_of(ranking.id) for ranking in rankings]
    assert sorted(answer["text"] for answer in answers) == sorted(questions)
    assert all(answer["text"] == answer["decision"]["query"] for answer in answers)


def test_retriever_and_llm_may_be_called_by_hand(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    documents = retriever(url).invoke(coffee.QUESTION)
    said = StandIn().invoke(f"{passages(documents)}\n\n{coffee.QUESTION}")

    assert answer_of(rankings[0].id)["text"] == said.text


async def test_they_may_be_awaited_by_hand(url: str, rankings: list[Ranking], answer_of: AnswerOf):
    documents = await retriever(url).ainvoke(coffee.QUESTION)
    said = await StandIn().ainvoke(f"{passages(documents)}\n\n{coffee.QUESTION}")

    assert answer_of(rankings[0].id)["text"] == said.text


def test_a_compressor_works_inside_any_runnable(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    compressor = RankloopRerank(url=url, top_n=3)
    found = RunnableLambda(lambda asked: compressor.compress_documents(first_stage(asked), asked))

    said = chain(found).invoke(coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == said


def test_only_what_the_prompt_holds_was_used(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    chain(retriever(url) | (lambda documents: documents[:2])).invoke(coffee.QUESTION)

    answer = answer_of(rankings[0].id)
    assert answer["used"] == answer["decision"]["shown"][:2]


def test_an_llm_that_rephrases_the_question_is_not_the_answer(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    rephrase = RunnableLambda(str) | FakeListLLM(responses=[coffee.QUESTION])

    said = (rephrase | chain(retriever(url))).invoke("And that one?")

    assert answer_of(rankings[0].id)["text"] == said


def test_a_call_that_asks_for_a_tool_is_not_the_answer(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    asks = AIMessage("Let me see.", tool_calls=[{"name": "search", "args": {}, "id": "1"}])
    llm = GenericFakeChatModel(messages=iter([asks, AIMessage("Three years [1].")]))

    def agent(question: str) -> list[str]:
        found = passages(retriever(url).invoke(question))
        return [llm.invoke(found).text for _ in range(2)]

    RunnableLambda(agent).invoke(coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == "Three years [1]."


class SaysNothing(StandIn):
    """A model whose first answer is none at all, as where a filter has taken it away."""

    asked: int = 0

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked += 1
        return ChatResult(generations=[]) if self.asked == 1 else super()._generate(*args, **kwargs)


def test_a_call_without_any_answer_is_none_and_troubles_nobody(
    url: str, rankings: list[Ranking], answer_of: AnswerOf, caplog: pytest.LogCaptureFixture
):
    llm = SaysNothing()

    def twice(question: str) -> str:
        found = passages(retriever(url).invoke(question))
        with suppress(IndexError):  # LangChain's own, in the app
            llm.invoke(found)
        return llm.invoke(found).text

    said = RunnableLambda(twice).invoke(coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == said
    assert "_Observer" not in caplog.text


def test_documents_that_were_graded_one_by_one_are_used_where_the_answer_read_them(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    grader = RunnableLambda(str) | FakeListLLM(responses=["no", "no", "yes"])

    def corrective(question: str) -> str:
        found = retriever(url).invoke(question)
        kept = [each for each in found if grader.invoke(each.page_content) == "yes"]
        return StandIn().invoke(f"{passages(kept)}\n\n{question}\nCite like [1].").text

    said = RunnableLambda(corrective).invoke(coffee.QUESTION)

    answer = answer_of(rankings[0].id)
    assert answer["text"] == said
    assert answer["used"] == answer["decision"]["shown"][2:3]


def test_the_final_documents_tell_the_decision_for_feedback(url: str, service: Client):
    documents = retriever(url).invoke(coffee.QUESTION)

    decision_id = decision_of(documents)
    assert decision_id is not None
    kept = service.feedback(decision_id, "thumb", value=True)
    assert kept.status in {"stored", "pending"}
    assert documents[0].metadata["score"] in coffee.SCORES
    assert decision_of([Document("not ranked")]) is None


def test_no_documents_need_no_service():
    assert RankloopRerank(url="http://127.0.0.1:9").compress_documents([], "what") == []


def test_a_key_is_not_shown(url: str):
    assert "rl_secret" not in repr(RankloopRerank(url=url, api_key="rl_secret"))


def test_reports_can_be_turned_off(
    url: str, rankings: list[Ranking], logged: Callable[[str], dict[str, Any]]
):
    compressor = RankloopRerank(url=url, top_n=3, report=False)
    found = RunnableLambda(lambda asked: compressor.compress_documents(first_stage(asked), asked))

    chain(found).invoke(coffee.QUESTION)

    assert compressor.flush()
    assert logged(rankings[0].id)["answer"] is None
