"""LlamaIndex against a live service: whichever way an app is put together, its answers arrive."""

from collections.abc import Callable
from typing import Any

from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import MetadataMode, QueryBundle

from examples.apps import coffee
from examples.apps.llamaindex_app import FirstStage, StandIn, app
from rankloop.client import Client, Ranking
from rankloop.integrations.llamaindex import RankloopRerank, decision_of

AnswerOf = Callable[[str], dict[str, Any]]


def engine(url: str, **options: Any) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(
        FirstStage(),
        llm=StandIn(),
        node_postprocessors=[RankloopRerank(url=url, top_n=3)],
        **options,
    )


def test_a_stream_is_reported_when_it_has_been_read(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    said = "".join(engine(url, streaming=True).query(coffee.QUESTION).response_gen)

    answer = answer_of(rankings[0].id)
    assert answer["text"] == said
    assert answer["used"] == answer["decision"]["shown"][:3]


async def test_an_app_may_be_asynchronous(url: str, rankings: list[Ranking], answer_of: AnswerOf):
    said = await app(url).aquery(coffee.QUESTION)

    assert answer_of(rankings[0].id)["text"] == str(said)


def test_a_chat_engine_reports_each_turn(url: str, rankings: list[Ranking], answer_of: AnswerOf):
    chat = ContextChatEngine.from_defaults(
        FirstStage(), llm=StandIn(), node_postprocessors=[RankloopRerank(url=url, top_n=3)]
    )

    said = [str(chat.chat(question)) for question in (coffee.QUESTION, "And the beans?")]

    assert [answer_of(ranking.id)["text"] for ranking in rankings] == said


def test_nodes_that_are_read_one_by_one_have_one_answer(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    said = engine(url, response_mode=ResponseMode.REFINE).query(coffee.QUESTION)

    answer = answer_of(rankings[0].id)
    assert answer["text"] == str(said)
    assert answer["used"] == answer["decision"]["shown"][:3]


def test_postprocessor_and_llm_may_be_called_by_hand(
    url: str, rankings: list[Ranking], answer_of: AnswerOf
):
    found = FirstStage().retrieve(coffee.QUESTION)
    nodes = RankloopRerank(url=url, top_n=2).postprocess_nodes(found, query_str=coffee.QUESTION)
    said = StandIn().complete(coffee.numbered([node.text for node in nodes]))

    answer = answer_of(rankings[0].id)
    assert answer["text"] == said.text
    assert answer["used"] == answer["decision"]["shown"][:2]


def test_the_marks_reach_no_prompt_and_no_node_of_the_index(url: str):
    found = FirstStage().retrieve(coffee.QUESTION)
    before = [node.node.metadata.copy() for node in found]

    nodes = RankloopRerank(url=url).postprocess_nodes(found, QueryBundle(coffee.QUESTION))

    assert [node.node.metadata for node in found] == before
    assert all(
        node.node.get_content(metadata_mode=mode) == node.node.get_content()
        for node in nodes
        for mode in (MetadataMode.LLM, MetadataMode.EMBED)
    )
    assert [node.score for node in nodes] == sorted((n.score for n in nodes), reverse=True)


def test_the_source_nodes_tell_the_decision_for_feedback(url: str, service: Client):
    response = engine(url).query(coffee.QUESTION)

    decision_id = decision_of(response.source_nodes)
    assert decision_id is not None
    kept = service.feedback(decision_id, "thumb", value=True)
    assert kept.status in {"stored", "pending"}
    assert decision_of([]) is None


def test_no_nodes_need_no_service():
    postprocessor = RankloopRerank(url="http://127.0.0.1:9")

    assert postprocessor.postprocess_nodes([], query_str="what") == []


def test_a_key_is_neither_shown_nor_saved(url: str):
    postprocessor = RankloopRerank(url=url, api_key="rl_secret")

    assert "rl_secret" not in repr(postprocessor)
    assert "rl_secret" not in str(postprocessor.to_dict())
