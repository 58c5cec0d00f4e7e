"""`POST /v1/rerank` with a real model: what comes back, and what does not depend on what."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select

from contract import first_stage
from contract.records import Candidate
from contract.tables import decisions
from service.asked import Asked
from tests import models, serving
from tests.serving import Service

DOCUMENTS = ["a castle by the sea", "who knows", "zebra crossing", "the author wrote it", "q"]
QUERY = "who wrote it"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    models.make(tmp_path / "version", seed=1)
    return tmp_path / "version"


@pytest.fixture
async def greedy(tmp_path: Path, folder: Path) -> AsyncIterator[Service]:
    async with serving.running(serving.settings(tmp_path, service_epsilon=0.0)) as service:
        service.place(folder)
        yield service


@pytest.fixture
async def exploring(tmp_path: Path, folder: Path) -> AsyncIterator[Service]:
    async with serving.running(serving.settings(tmp_path, service_epsilon=1.0)) as service:
        service.place(folder)
        yield service


def order(body: Any) -> list[int]:
    return [result["index"] for result in body["results"]]


def scores(body: Any) -> list[float]:
    return [result["relevance_score"] for result in body["results"]]


async def test_the_greedy_order_is_the_order_of_the_models_scores(
    greedy: Service, folder: Path
) -> None:
    logits = models.logits(folder, QUERY, DOCUMENTS)

    body = await greedy.rerank(DOCUMENTS, QUERY)

    assert order(body) == np.argsort(-logits).tolist()
    expected = 1 / (1 + np.exp(-np.sort(logits)[::-1]))
    assert scores(body) == pytest.approx(expected.tolist(), abs=1e-6)  # float32 logits
    assert [each["model_score"] for each in body["results"]] == pytest.approx(scores(body))


async def test_the_first_stages_scores_are_an_input(greedy: Service, folder: Path) -> None:
    sent = [1.0, None, 7.5, 2.0, -3.0]
    documents = [
        {"text": text, "score": score} for text, score in zip(DOCUMENTS, sent, strict=True)
    ]

    body = await greedy.rerank(documents, QUERY)

    logits = models.logits(folder, QUERY, DOCUMENTS, first_stage.features(sent))
    assert order(body) == np.argsort(-logits).tolist()
    assert scores(body)[0] == pytest.approx(1 / (1 + np.exp(-logits.max())), abs=1e-6)


async def test_relevance_falls_strictly_and_knows_nothing_of_exploration(
    exploring: Service,
) -> None:
    documents = [*DOCUMENTS, DOCUMENTS[0], DOCUMENTS[1]]

    bodies = [await exploring.rerank(documents) for _ in range(20)]

    assert len({tuple(order(body)) for body in bodies}) > 1
    assert len({tuple(scores(body)) for body in bodies}) == 1
    assert all(better > worse for better, worse in pairwise(scores(bodies[0])))
    own = [{each["index"]: each["model_score"] for each in body["results"]} for body in bodies]
    assert all(each == own[0] for each in own)


async def test_every_answer_is_a_permutation_and_a_shorter_one_its_beginning(
    greedy: Service,
) -> None:
    whole = await greedy.rerank(DOCUMENTS)
    three = await greedy.rerank(DOCUMENTS, top_n=3)
    more = await greedy.rerank(DOCUMENTS, top_n=50)

    assert sorted(order(whole)) == list(range(len(DOCUMENTS)))
    assert order(three) == order(whole)[:3]
    assert scores(three) == scores(whole)[:3]
    assert order(more) == order(whole)


async def test_the_same_text_twice_is_scored_once_and_stays_in_request_order(
    greedy: Service,
) -> None:
    body = await greedy.rerank(["same", "other words", "same", "same"])

    same = [each for each in body["results"] if each["index"] != 1]
    assert [each["index"] for each in same] == [0, 2, 3]
    assert len({each["model_score"] for each in same}) == 1
    assert greedy.metric("rankloop_pairs_total", precision="float32") == 2


async def test_documents_are_tokenised_once_for_a_tenant_and_across_versions(
    greedy: Service, tmp_path: Path
) -> None:
    await greedy.rerank(DOCUMENTS, "who wrote it")
    await greedy.rerank(DOCUMENTS[:3], "another query")
    assert greedy.metric("rankloop_token_cache_misses_total") == 5
    assert greedy.metric("rankloop_token_cache_hits_total") == 3

    models.make(tmp_path / "other", seed=2)
    greedy.place(tmp_path / "other", epoch=2)
    swapped = await greedy.rerank(DOCUMENTS, QUERY)

    assert (
        order(swapped) == np.argsort(-models.logits(tmp_path / "other", QUERY, DOCUMENTS)).tolist()
    )
    assert greedy.metric("rankloop_token_cache_hits_total") == 3 + 5

    candidates = tuple(Candidate(text=text) for text in DOCUMENTS)
    asked = Asked(tenant="another", line=None, query=QUERY, candidates=candidates)
    await greedy.app.state.parts.reranker.rerank(asked)
    assert greedy.metric("rankloop_token_cache_misses_total") == 5 + 5


async def test_nulls_say_nothing(greedy: Service) -> None:
    fields = ("top_n", "model", "session_id", "explore", "return_documents", "tags")

    body = await greedy.rerank(DOCUMENTS, **dict.fromkeys(fields))

    assert order(body) == order(await greedy.rerank(DOCUMENTS))
    assert "document" not in body["results"][0]


async def test_documents_come_back_as_they_were_sent_when_asked_for(greedy: Service) -> None:
    sent = {"text": "words", "id": "page 7", "metadata": {"source": None, "pages": [1, 2]}}

    body = await greedy.rerank([sent], return_documents=True)

    assert body["results"][0]["document"] == sent


async def test_a_line_is_chosen_by_model_and_the_default_one_answers_to_other_names(
    greedy: Service, tmp_path: Path
) -> None:
    models.make(tmp_path / "other", seed=2)
    live = greedy.place(tmp_path / "other", line="legal")

    legal = await greedy.rerank(DOCUMENTS, model="legal")
    other = await greedy.rerank(DOCUMENTS, model="rerank-v3.5")

    assert (legal["model"], legal["meta"]["version"]) == ("legal", live.version)
    assert other["model"] == "default"


async def test_a_name_that_is_no_line_is_not_found_where_names_must_be_right(
    tmp_path: Path, folder: Path
) -> None:
    settings = serving.settings(tmp_path, service_refuse_unknown_models=True)
    async with serving.running(settings) as service:
        service.place(folder)
        body = {"query": QUERY, "documents": DOCUMENTS, "model": "nobody"}
        refused = await service.client.post("/v1/rerank", json=body)

    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"


async def test_without_a_model_the_service_says_when_to_come_back(tmp_path: Path) -> None:
    async with serving.running(serving.settings(tmp_path)) as service:
        ready = await service.client.get("/readyz")
        refused = await service.client.post("/v1/rerank", json={"query": "q", "documents": ["d"]})

    assert (ready.status_code, refused.status_code) == (503, 503)
    assert int(refused.headers["retry-after"]) >= 1


async def test_headers_name_the_decision_and_where_the_time_went(greedy: Service) -> None:
    response = await greedy.client.post("/v1/rerank", json={"query": "q", "documents": ["d"]})

    assert response.headers["x-rankloop-decision"] == response.json()["id"]
    assert response.headers["x-rankloop-version"] == response.json()["meta"]["version"]
    times = ("x-total-time", "x-queue-time", "x-tokenization-time", "x-inference-time")
    assert all(int(response.headers[name]) >= 0 for name in times)


async def test_too_long_documents_are_cut_and_named_and_too_long_queries_refused(
    greedy: Service,
) -> None:
    long = "word " * models.MAX_LENGTH

    body = await greedy.rerank(["short", long])
    refused = await greedy.client.post("/v1/rerank", json={"query": long, "documents": ["d"]})

    assert body["meta"]["truncated"] == [1]
    assert refused.status_code == 422
    assert "word" not in refused.text


async def test_an_idempotency_key_replays_the_decision(exploring: Service) -> None:
    async def ask(query: str) -> Any:
        return await exploring.client.post(
            "/v1/rerank",
            json={"query": query, "documents": DOCUMENTS},
            headers={"Idempotency-Key": "once"},
        )

    together = await asyncio.gather(*(ask("same") for _ in range(5)))
    later = await ask("same")
    other = await ask("other")

    assert {response.text for response in [*together, later]} == {together[0].text}
    assert other.status_code == 422


async def test_a_session_keeps_its_order_and_is_learned_from_once(
    engine: Engine, database_url: str, tmp_path: Path, folder: Path
) -> None:
    settings = serving.settings(tmp_path, database_url=database_url, service_epsilon=1.0)
    async with serving.running(settings, engine) as service:
        service.place(folder)

        again = [await service.rerank(DOCUMENTS, session_id="ann") for _ in range(8)]
        shorter = await service.rerank(DOCUMENTS, session_id="ann", top_n=2)
        others = [await service.rerank(DOCUMENTS, session_id=f"s{i}") for i in range(8)]
        await service.logged()

    assert {tuple(order(body)) for body in again} == {tuple(order(again[0]))}
    assert order(shorter) == order(again[0])[:2]
    assert len({body["id"] for body in again}) == 8
    assert len({tuple(order(body)) for body in others}) > 1
    with engine.connect() as connection:
        rows = connection.execute(select(decisions.c.not_learnable, decisions.c.session_hash)).all()
    assert sorted(row.not_learnable or "" for row in rows) == [""] * 9 + ["repeated"] * 8
    assert len({row.session_hash for row in rows}) == 9


async def test_explore_never_always_gets_the_best_order(exploring: Service) -> None:
    bodies = [await exploring.rerank(DOCUMENTS, explore="never") for _ in range(10)]

    assert len({tuple(order(body)) for body in bodies}) == 1
    assert not any(body["meta"]["explored"] for body in bodies)
    assert exploring.metric("rankloop_decisions_not_learnable_total", reason="explore_never") == 10


async def test_once_the_days_budget_is_spent_nothing_is_explored(
    tmp_path: Path, folder: Path
) -> None:
    settings = serving.settings(tmp_path, service_epsilon=1.0, service_explore_budget_daily=3)
    async with serving.running(settings) as service:
        service.place(folder)

        bodies = [await service.rerank(DOCUMENTS) for _ in range(6)]

    assert [body["meta"]["explored"] for body in bodies] == [True] * 3 + [False] * 3


async def test_a_document_falls_no_further_than_allowed(tmp_path: Path, folder: Path) -> None:
    settings = serving.settings(tmp_path, service_epsilon=1.0, service_max_fall=1)
    async with serving.running(settings) as service:
        service.place(folder)
        best = order(await service.rerank(DOCUMENTS, explore="never"))

        explored = [order(await service.rerank(DOCUMENTS)) for _ in range(30)]

    assert all(
        shown.index(document) <= best.index(document) + 1 for shown in explored for document in best
    )
    assert any(shown != best for shown in explored)
