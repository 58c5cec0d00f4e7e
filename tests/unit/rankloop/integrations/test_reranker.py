import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from rankloop.client import Client, Document, Retries
from rankloop.integrations.links import Link
from rankloop.integrations.outbox import Outbox
from rankloop.integrations.reading import Reading
from rankloop.integrations.reranker import (
    DECISION,
    INDEX,
    Reranker,
    ShownBy,
    decision_of,
    id_of,
    marked,
    report_all,
    score_of,
)

TEXTS = ("One year.", "Two years.")


class Service:
    """Ranks backwards, and notes the answers that it is told of."""

    def __init__(self) -> None:
        self.status = 200
        self.answers: list[tuple[str, Any]] = []
        self.decisions: Iterator[int] = iter(range(100))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path == "/v1/rerank":
            return httpx.Response(200, json=self._ranking(len(body["documents"])))
        decision_id = request.url.path.split("/")[3]
        self.answers.append((decision_id, body))
        told = {"decision_id": decision_id, "status": "stored", "used_k": len(body["used"])}
        return httpx.Response(self.status, json=told)

    def _ranking(self, n: int) -> dict[str, Any]:
        meta = {"version": "v", "epoch": 1, "arm": "champion", "explored": False, "logged": True}
        return {
            "id": f"decision-{next(self.decisions)}",
            "results": [
                {"index": index, "relevance_score": index / n, "model_score": index / n}
                for index in reversed(range(n))
            ],
            "model": "default",
            "usage": {"total_tokens": 1},
            "meta": meta | {"degraded": False, "truncated": [], "feedback_token": "rlf_x"},
        }


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def reranker(service: Service) -> Reranker:
    reranker = Reranker("http://s", api_key=None, line=None, timeout_s=1, cited=None)
    transport = httpx.MockTransport(service)
    client = Client("http://s", transport=transport, retries=Retries(attempts=1))
    reranker._link = Link(ranking=client, reporting=client, outbox=Outbox())
    return reranker


def ranked(reranker: Reranker) -> ShownBy:
    documents = [Document(text=text) for text in TEXTS]
    return reranker.shown(reranker.rank("How long?", documents, top_n=None))


def read(answer: str = "Two years [1].") -> Reading:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    prompt = f"[1] {TEXTS[1]}\n[2] {TEXTS[0]}"
    return Reading(prompt=prompt, answer=answer, model="a-reader", at=at, latency_ms=8)


def test_an_answer_is_reported_with_everything_that_is_known_of_it(
    service: Service, reranker: Reranker
):
    report_all([ranked(reranker)], [read()])

    assert reranker.flush(5)
    (decision_id, body) = service.answers[0]
    assert decision_id == "decision-0"
    assert datetime.fromisoformat(body.pop("occurred_at")) == read().at
    assert body == {
        "text": "Two years [1].",
        "used": [1, 0],
        "citations": [1],
        "model": "a-reader",
        "latency_ms": 8,
    }


def test_a_decision_is_reported_once(service: Service, reranker: Reranker):
    shown = ranked(reranker)

    for answer in ("Two years [1].", "Another one."):
        report_all([shown], [read(answer)])

    assert reranker.flush(5)
    assert [body["text"] for _, body in service.answers] == ["Two years [1]."]


def test_each_reranker_reports_its_own(service: Service, reranker: Reranker):
    other = Reranker("http://s", api_key=None, line=None, timeout_s=1, cited=None)
    other._link = reranker._link

    report_all([ranked(reranker), ranked(other)], [read()])

    assert reranker.flush(5)
    assert {decision_id for decision_id, _ in service.answers} == {"decision-0", "decision-1"}


def test_a_refused_report_is_not_the_apps_trouble(
    service: Service, reranker: Reranker, caplog: pytest.LogCaptureFixture
):
    service.status = 409

    report_all([ranked(reranker)], [read()])

    assert reranker.flush(5)
    assert "report.failed reason=Conflict: 409" in caplog.text


def test_a_prompt_without_the_documents_says_nothing(
    service: Service, reranker: Reranker, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", logger="rankloop")
    shown = ranked(reranker)

    reranker.report([shown.shown], [replace(read(), prompt="How long?")])

    assert reranker.flush(5)
    assert service.answers == []
    assert "report.nothing decision=decision-0" in caplog.text


@pytest.mark.parametrize(
    ("value", "score"),
    [(1, 1.0), (0.5, 0.5), (None, None), ("9", None), (True, None), (float("nan"), None)],
)
def test_a_score_is_a_number_that_json_has(value: object, score: float | None):
    assert score_of(value) == score


@pytest.mark.parametrize("value", [None, "", "x" * 201, 7])
def test_what_the_service_takes_for_no_id_is_not_sent_as_one(value: object):
    assert id_of(value) is None
    assert id_of("x" * 200) == "x" * 200


def test_documents_remember_the_decision_that_ranked_them(reranker: Reranker):
    ranking = reranker.rank("How long?", [Document(text=text) for text in TEXTS], top_n=None)

    metadata = marked({"page": 4}, ranking, 1)

    assert metadata == {"page": 4, DECISION: "decision-0", INDEX: 1}
    assert decision_of([{}, metadata]) == "decision-0"
    assert decision_of([{}]) is None
    assert decision_of([]) is None
