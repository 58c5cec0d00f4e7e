"""Haystack against a live service: whichever way an app is put together, its answers arrive."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from haystack import Document, Pipeline, tracing
from haystack.components.generators.chat import MockChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tracing import Span, Tracer
from haystack.tracing.tracer import NullTracer
from haystack.utils import Secret

from examples.apps import coffee
from examples.apps.haystack_app import app, ask, stand_in
from rankloop.client import Client, Ranking
from rankloop.integrations.haystack import RankloopRanker, decision_of

AnswerOf = Callable[[str], dict[str, Any]]


def inputs(question: str) -> dict[str, Any]:
    asked = {"query": question}
    return {"retriever": asked, "ranker": asked, "prompt": {"question": question}}


def last_line(messages: list[ChatMessage]) -> str:
    return (messages[-1].text or "").strip().splitlines()[-1]


async def test_a_pipeline_may_be_asynchronous(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    result = await app(url).run_async(inputs(coffee.QUESTION))

    assert answer_of(rankings[0].id)["text"] == result["llm"]["replies"][0].text


def test_answers_of_threads_go_to_their_own_decisions(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    questions = [f"{coffee.QUESTION} {number}" for number in range(20)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda question: ask(_says_the_question(url), question), questions))

    answers = [answer_of(ranking.id) for ranking in rankings]
    assert sorted(answer["text"] for answer in answers) == sorted(questions)
    assert all(answer["text"] == answer["decision"]["query"] for answer in answers)


async def test_answers_of_tasks_go_to_their_own_decisions(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    questions = [f"{coffee.QUESTION} {number}" for number in range(20)]
    pipeline = _says_the_question(url)

    await asyncio.gather(*(pipeline.run_async(inputs(question)) for question in questions))

    answers = [answer_of(ranking.id) for ranking in rankings]
    assert all(answer["text"] == answer["decision"]["query"] for answer in answers)


def test_components_may_be_run_by_hand(url: str, rankings: list[Ranking], service: Client):
    ranker = RankloopRanker(url, top_k=2)
    documents = [Document(content=text) for text in coffee.PASSAGES]

    ranked = ranker.run(query=coffee.QUESTION, documents=documents)["documents"]

    # Outside a pipeline nobody traces a generator; the app says itself what came of it.
    decision_id = decision_of(ranked)
    assert decision_id == rankings[0].id
    assert service.answer(decision_id, used_k=2, text="Three years.").used_k == 2
    assert service.feedback(decision_id, "thumb", value=True).status in {"stored", "pending"}


class Noting(Tracer):
    """An app's own tracer."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    @contextmanager
    def trace(
        self,
        operation_name: str,
        tags: dict[str, Any] | None = None,
        parent_span: Span | None = None,
    ) -> Iterator[Span]:
        assert type(parent_span).__module__ != "rankloop.integrations.haystack"
        self.operations.append(operation_name)
        with NullTracer().trace(operation_name) as span:
            yield span

    def current_span(self) -> Span | None:
        return None


@pytest.mark.parametrize("chosen", ["before", "after"])
def test_an_apps_own_tracer_goes_on_tracing(
    chosen: str, url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    tracer = Noting()
    if chosen == "before":
        tracing.enable_tracing(tracer)
    pipeline = app(url)
    if chosen == "after":
        tracing.enable_tracing(tracer)

    said = ask(pipeline, coffee.QUESTION)

    tracing.disable_tracing()
    assert tracer.operations.count("haystack.component.run") == 4
    assert answer_of(rankings[0].id)["text"] == said


def test_a_pipeline_can_be_saved_and_loaded(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANKER_KEY", "rl_secret")
    pipeline = Pipeline()
    key = Secret.from_env_var("RANKER_KEY")
    pipeline.add_component("ranker", RankloopRanker(url, api_key=key, top_k=3, line="other"))

    saved = pipeline.dumps()
    loaded = Pipeline.loads(saved, allowed_modules=["rankloop.*"]).get_component("ranker")

    assert "rl_secret" not in saved
    assert (loaded.url, loaded.top_k, loaded.line) == (url, 3, "other")


def test_what_has_no_text_is_left_out(url: str):
    ranker = RankloopRanker(url)

    assert ranker.run(query="what", documents=[Document(content=None)]) == {"documents": []}


def _says_the_question(url: str) -> Pipeline:
    pipeline = app(url)
    llm = pipeline.get_component("llm")
    assert isinstance(llm, MockChatGenerator)
    assert llm.response_fn is stand_in
    llm.response_fn = last_line
    return pipeline
