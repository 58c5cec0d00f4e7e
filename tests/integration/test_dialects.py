"""What clients of other rerankers send is understood, and what they read comes back, on every path."""

from collections.abc import AsyncIterator
from math import exp
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.dialects.tei import RankRequest
from service.routes.rerank import PATHS
from tests import models, serving
from tests.serving import Service

QUERY = "who wrote it"
TEXTS = ["one two", "red sun", "it was the old cat"]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    models.make(tmp_path / "version")
    settings = serving.settings(tmp_path, service_epsilon=0.0, service_max_documents=20)
    async with serving.running(settings) as service:
        service.place(tmp_path / "version")
        yield service


async def ranked(service: Service, body: dict[str, Any], path: str = "/v1/rerank") -> Any:
    response = await service.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
async def ours(service: Service) -> list[tuple[int, float]]:
    """Positions and scores, best first."""
    found = await ranked(service, {"query": QUERY, "documents": TEXTS})
    return [(each["index"], each["relevance_score"]) for each in found["results"]]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_ranks(service: Service, ours: list[tuple[int, float]], path: str) -> None:
    found = await ranked(service, {"query": QUERY, "documents": TEXTS}, path)

    assert [(each["index"], each["relevance_score"]) for each in found["results"]] == ours


async def test_cohere_v1_sends_objects_and_gets_them_back(service: Service) -> None:
    documents = [
        {"text": text, "id": f"d{place}", "page": place} for place, text in enumerate(TEXTS)
    ]

    found = await ranked(
        service,
        {"query": QUERY, "documents": documents, "return_documents": True, "top_n": 2},
    )

    assert len(found["results"]) == 2
    for each in found["results"]:
        assert each["document"] == documents[each["index"]]
    assert found["meta"]["api_version"] == {"version": "2"}
    assert found["usage"]["total_tokens"] > 0


async def test_rank_fields_say_where_the_text_is(service: Service) -> None:
    documents = [{"title": "red", "body": "sun"}, {"title": "old", "body": "cat"}]

    found = await ranked(
        service,
        {
            "query": QUERY,
            "documents": documents,
            "rank_fields": ["title", "body"],
            "return_documents": True,
        },
    )

    texts = {each["index"]: each["document"]["text"] for each in found["results"]}
    assert texts == {0: "title: red\nbody: sun", 1: "title: old\nbody: cat"}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"title": "red", "text": "sun"}, "sun"),
        ({"text": None, "content": "sun"}, "sun"),
        ({"content": [{"type": "text", "text": "red"}, {"text": "sun"}, {"image": 1}]}, "red\nsun"),
        ({"text": ["red"], "page_content": "sun"}, "sun"),
    ],
)
async def test_a_text_is_found_where_it_is(
    service: Service, document: dict[str, Any], text: str
) -> None:
    body = {"query": QUERY, "documents": [document], "return_documents": True}

    plain = await ranked(service, body)
    asked_for_another = await ranked(service, body | {"rank_fields": ["nowhere"]})

    assert plain["results"][0]["document"]["text"] == text
    assert asked_for_another["results"][0]["document"]["text"] == text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_n", True),
        ("top_n", "+1"),
        ("top_n", "1_0"),
        ("return_documents", "yes"),
        ("return_documents", 2),
        ("truncate", "maybe"),
    ],
)
async def test_what_could_mean_anything_is_refused(
    service: Service, field: str, value: object
) -> None:
    body = {"query": QUERY, "documents": TEXTS, field: value}

    response = await service.client.post("/v1/rerank", json=body)

    assert response.status_code == 422
    assert field in response.json()["detail"]


async def test_sides_that_are_not_scored_are_read_too(service: Service) -> None:
    body = {"text_1": QUERY, "text_2": TEXTS, "data_2": [{"id": 1}]}

    response = await service.client.post("/score", json=body)

    assert response.status_code == 422
    assert response.json()["detail"] == "texts.0: has no text"


async def test_raw_scores_are_the_logits_of_the_scores(
    service: Service, ours: list[tuple[int, float]]
) -> None:

    found = await ranked(service, {"query": QUERY, "documents": TEXTS, "raw_scores": True})

    raw = [each["relevance_score"] for each in found["results"]]
    assert [1 / (1 + exp(-each)) for each in raw] == pytest.approx([score for _, score in ours])


async def test_tei_gets_a_bare_list(service: Service, ours: list[tuple[int, float]]) -> None:
    found = await ranked(
        service, {"query": QUERY, "texts": TEXTS, "return_text": True, "truncate": True}, "/rerank"
    )

    assert found == [
        {"index": index, "score": score, "text": TEXTS[index]} for index, score in ours
    ]


async def test_voyage_gets_data_with_strings(
    service: Service, ours: list[tuple[int, float]]
) -> None:
    body = {"query": QUERY, "documents": TEXTS, "top_k": None, "return_documents": True}

    found = await ranked(service, body)

    assert found["object"] == "list"
    assert found["usage"]["total_tokens"] > 0
    assert found["data"] == [
        {"index": index, "relevance_score": score, "document": TEXTS[index]}
        for index, score in ours
    ]


async def test_nim_gets_logits(service: Service, ours: list[tuple[int, float]]) -> None:
    body = {"query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}

    found = await ranked(service, body, "/v1/ranking")

    assert [each["index"] for each in found["rankings"]] == [index for index, _ in ours]
    logits = [each["logit"] for each in found["rankings"]]
    assert logits == sorted(logits, reverse=True)


async def test_mixedbread_gets_data(service: Service, ours: list[tuple[int, float]]) -> None:
    found = await ranked(
        service, {"query": QUERY, "input": TEXTS, "top_k": 1, "return_input": True}
    )

    ((index, score), *_) = ours
    # No `object`: the older of its clients takes only words that are none of a ranking.
    assert found["data"] == [{"index": index, "score": score, "input": TEXTS[index]}]


async def test_infinity_has_a_path_of_its_own_and_gets_strings(
    service: Service, ours: list[tuple[int, float]]
) -> None:
    body = {"query": QUERY, "documents": TEXTS, "return_documents": True}

    found = await ranked(service, body, "/infinity/rerank")

    assert [
        (each["index"], each["relevance_score"], each["document"]) for each in found["results"]
    ] == [(index, score, TEXTS[index]) for index, score in ours]


async def test_infinity_gets_no_documents_that_it_did_not_ask_for(service: Service) -> None:
    found = await ranked(service, {"query": QUERY, "documents": TEXTS}, "/infinity/rerank")

    assert not any("document" in each for each in found["results"])


@pytest.mark.parametrize(
    "names",
    [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")],
)
async def test_vllm_scores_in_input_order(
    service: Service, ours: list[tuple[int, float]], names: tuple[str, str]
) -> None:
    found = await ranked(service, dict(zip(names, (QUERY, TEXTS), strict=True)), "/score")

    assert [each["score"] for each in found["data"]] == [score for _, score in sorted(ours)]


async def test_vllm_scores_pairs_with_queries_of_their_own(service: Service) -> None:
    found = await ranked(
        service, {"text_1": ["red sun", "old cat"], "text_2": ["red sun", "one two"]}, "/v1/score"
    )
    alone = [
        await ranked(service, {"query": query, "documents": [text]})
        for query, text in (("red sun", "red sun"), ("old cat", "one two"))
    ]

    assert [each["score"] for each in found["data"]] == [
        each["results"][0]["relevance_score"] for each in alone
    ]


async def test_a_pair_that_cannot_be_scored_ends_the_others(service: Service) -> None:
    pairs = {"text_1": ["red sun"] * 99 + ["too long " * 100], "text_2": ["one two"] * 100}

    response = await service.client.post("/v1/score", json=pairs)

    assert response.status_code == 422
    await serving.until(lambda: service.metric("rankloop_queued_tokens") == 0)


async def test_as_many_queries_as_texts_or_one(service: Service) -> None:
    response = await service.client.post("/score", json={"text_1": ["a", "b"], "text_2": ["a"]})

    assert response.status_code == 422
    assert "text_1" in response.json()["detail"]


async def test_a_long_document_is_read_in_windows_of_which_the_best_counts(
    service: Service,
) -> None:
    # The tiny model reads about 100 letters: its end is out of sight, and in the third window.
    filler = "one two " * 40
    documents = [filler + "red sun", "ten dog"]
    cut = await ranked(service, {"query": "red sun", "documents": documents})
    whole = await ranked(
        service, {"query": "red sun", "documents": documents, "max_chunks_per_doc": 50}
    )

    assert cut["meta"]["truncated"] == [0]
    assert whole["meta"]["truncated"] == []
    assert score_of(whole, 0) >= score_of(cut, 0)
    assert score_of(whole, 1) == pytest.approx(score_of(cut, 1), abs=1e-6)


def score_of(found: Any, index: int) -> float:
    (score,) = [each["model_score"] for each in found["results"] if each["index"] == index]
    return float(score)


async def test_max_tokens_per_doc_cuts(service: Service) -> None:
    found = await ranked(
        service,
        {"query": QUERY, "documents": ["red sun one two", "old"], "max_tokens_per_doc": 3},
    )

    assert found["meta"]["truncated"] == [0]


async def test_a_field_that_is_named_twice_is_read_once(service: Service) -> None:
    document = {"title": "red sun"}
    found = await ranked(
        service,
        {
            "query": QUERY,
            "documents": [document],
            "rank_fields": ["title", "title"],
            "return_documents": True,
        },
    )

    assert found["results"][0]["document"] == document | {"text": "red sun"}


ERRORS = {
    "objects": ({"query": "a", "documents": []}, 422),
    "too many": ({"query": "a", "documents": ["a"] * 21}, 422),
    "too long": ({"query": "a", "documents": ["a " * 500], "truncate": False}, 422),
    "voyage": ({"query": "a", "documents": [], "top_k": 1}, 422),
    "voyage too long": ({"query": "a", "documents": ["a " * 500], "truncation": False}, 422),
    "nim": ({"query": {"text": "a"}, "passages": [{"text": "a " * 500}], "truncate": "NONE"}, 422),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_errors_say_it_where_each_client_looks(service: Service, name: str) -> None:
    body, status = ERRORS[name]

    response = await service.client.post("/v1/rerank", json=body)

    told = response.json()
    assert response.status_code == status == told["status"]
    assert told["detail"] == told["message"] == told["error"]["message"]
    assert told["error"]["code"] == status
    assert len(response.content) <= 1024


async def test_mixedbread_is_told_in_its_own_words(tmp_path: Path) -> None:
    settings = serving.settings(tmp_path, service_require_keys=True)
    async with serving.running(settings) as service:
        response = await service.client.post("/v1/reranking", json={"query": "a", "input": ["a"]})

    assert response.status_code == 401
    assert response.json()["type"] == "unauthorized_error"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": "a", "texts": []}, 422),
        ({"query": "a", "texts": ["a"] * 21}, 413),
        ({"query": "a", "texts": ["a " * 500], "truncate": False}, 413),
    ],
)
async def test_tei_errors_are_a_string_and_a_type(
    service: Service, body: dict[str, Any], status: int
) -> None:
    response = await service.client.post("/rerank", json=body)

    assert response.status_code == status
    assert response.json().keys() == {"error", "error_type"}
    assert response.json()["error_type"] == "Validation"


async def test_a_part_of_a_split_ranking_is_not_explored(tmp_path: Path) -> None:
    models.make(tmp_path / "version")
    async with serving.running(serving.settings(tmp_path, service_epsilon=1.0)) as service:
        live = service.place(tmp_path / "version")
        texts = [f"one {word}" for word in ("red", "sun", "cat", "dog", "sea", "ten", "old", "new")]
        r2r = {"query": QUERY, "texts": texts, "model-id": "x"}
        ragflow = {"query": QUERY, "texts": texts, "raw_scores": False, "truncate": True}

        orders = [
            [each["index"] for each in await ranked(service, body, "/rerank")]
            for body in (r2r, ragflow)
            for _ in range(5)
        ]

    assert live.epoch == 1
    assert orders == orders[:1] * 10


WHOLE = {
    "LlamaIndex": {"query": QUERY, "texts": TEXTS},
    "Haystack": {"query": QUERY, "texts": TEXTS, "raw_scores": False},
    "Haystack, cutting": {
        "query": QUERY,
        "texts": TEXTS,
        "raw_scores": False,
        "truncate": True,
        "truncation_direction": "Right",
    },
    "LiteLLM": {
        "query": QUERY,
        "texts": TEXTS,
        "raw_scores": False,
        "truncation_direction": "Right",
        "return_text": True,
    },
    "Dify": {"query": QUERY, "texts": TEXTS, "return_text": True},
    "more than RAGFlow sends at once": {
        "query": QUERY,
        "texts": TEXTS * 3,
        "raw_scores": False,
        "truncate": True,
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_rankings_of_other_clients_are_not_taken_for_parts(name: str) -> None:
    assert not RankRequest.model_validate(WHOLE[name]).may_be_a_part


async def test_info_says_reranker_to_clients_of_tei(service: Service) -> None:
    info = (await service.client.get("/info")).json()

    assert info["model_type"] == {"reranker": {}}
    assert info["max_client_batch_size"] == 20
    assert info["max_input_length"] > 0


@pytest.mark.parametrize("path", ["/health", "/ping", "/readyz"])
async def test_it_is_healthy_once_it_has_a_model(service: Service, path: str) -> None:
    response: httpx.Response = await service.client.get(path)

    assert response.status_code == 200
