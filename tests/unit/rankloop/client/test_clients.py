import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rankloop.client import (
    AsyncClient,
    Client,
    Document,
    Feedback,
    Invalid,
    Kept,
    Matched,
    Overloaded,
    Refused,
    Retries,
    Unavailable,
    Unreachable,
)
from rankloop.client import calls as all_calls

CALLS = (
    "rerank",
    "answer",
    "feedback",
    "feedback_batch",
    "delete_feedback",
    "decision",
    "match",
)
DECISION = "0199ab00-0000-7000-8000-000000000001"
QUICK = Retries(attempts=3, first_s=0.001)


def ranked(*order: int, **changes: Any) -> dict[str, Any]:
    """A reply of the service that shows these positions."""
    meta = {"version": "v1", "epoch": 3, "arm": "champion", "explored": True, "logged": True}
    return {
        "id": DECISION,
        "results": [
            {"index": index, "relevance_score": 0.9 - place / 10, "model_score": 0.5}
            for place, index in enumerate(order)
        ],
        "model": "default",
        "usage": {"total_tokens": 12},
        "meta": meta | {"degraded": False, "truncated": [1], "feedback_token": "rlf_x"},
    } | changes


class Wire:
    """Says each reply of the script once, then the last one again and again."""

    def __init__(self, *script: httpx.Response | Exception | dict[str, Any]) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(200, json=reply) if isinstance(reply, dict) else reply

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]

    @property
    def keys(self) -> list[str]:
        return [request.headers["idempotency-key"] for request in self.requests]


def client(wire: Callable[[httpx.Request], httpx.Response], **options: Any) -> Client:
    return Client("http://service", transport=httpx.MockTransport(wire), **options)


def test_a_ranking_holds_the_documents_that_were_sent_best_first():
    wire = Wire(ranked(1, 0))
    mine = Document(text="two years", id="new", score=9.1, metadata={"page": 4})

    ranking = client(wire).rerank("how long", ["one year", mine], top_n=2, tags={"page": "help"})

    assert ranking.id == DECISION
    assert ranking.texts == ["two years", "one year"]
    assert ranking.documents[0] is mine
    assert [result.index for result in ranking.results] == [1, 0]
    assert (ranking.version, ranking.epoch, ranking.explored) == ("v1", 3, True)
    assert wire.bodies == [
        {
            "query": "how long",
            "documents": [{"text": "one year"}, {"text": "two years", "id": "new", "score": 9.1}],
            "explore": "auto",
            "truncate": True,
            "raw_scores": False,
            "top_n": 2,
            "tags": {"page": "help"},
        }
    ]


def test_a_ranking_has_a_token_for_a_browser_and_does_not_show_it():
    ranking = client(Wire(ranked(0))).rerank("how long", ["two years"])

    assert ranking.feedback_token == "rlf_x"
    assert "rlf_x" not in repr(ranking)


def test_what_is_read_of_a_document_can_be_asked_for():
    wire = Wire(ranked(0))

    client(wire).rerank(
        "how long",
        ["two years"],
        max_tokens_per_doc=128,
        max_chunks_per_doc=3,
        truncate=False,
        raw_scores=True,
    )

    assert wire.bodies == [
        {
            "query": "how long",
            "documents": [{"text": "two years"}],
            "explore": "auto",
            "truncate": False,
            "raw_scores": True,
            "max_tokens_per_doc": 128,
            "max_chunks_per_doc": 3,
        }
    ]


def test_of_the_metadata_only_the_fields_that_are_asked_for_are_sent():
    wire = Wire(ranked(0))
    metadata = {"title": "Warranty", "page": 4, "seen": {"by": "ann"}, "owner": "ann", "text": "x"}
    document = Document(text="two years", id="new", metadata=metadata)

    named = ("title", "page", "seen", "text")
    client(wire).rerank("how long", [document, "ask us"], rank_fields=named)

    assert wire.bodies[0]["rank_fields"] == list(named)
    assert wire.bodies[0]["documents"] == [
        {"title": "Warranty", "page": 4, "text": "two years", "id": "new"},
        {"text": "ask us"},
    ]


async def test_the_async_client_asks_for_the_same_and_gets_the_token():
    wire = Wire(ranked(0))

    async with AsyncClient("http://service", transport=httpx.MockTransport(wire)) as rankloop:
        ranking = await rankloop.rerank("how long", ["two years"], raw_scores=True, truncate=False)

    assert (wire.bodies[0]["raw_scores"], wire.bodies[0]["truncate"]) == (True, False)
    assert ranking.feedback_token == "rlf_x"


def test_an_answer_is_said_with_what_is_known_of_it():
    wire = Wire({"decision_id": DECISION, "status": "stored", "used_k": 2, "used_is_prefix": True})

    answered = client(wire).answer(
        DECISION,
        text="Two years [1].",
        reference="24 months.",
        used=(1, 0),
        citations=[1],
        model="a-reader",
    )

    assert wire.requests[0].url.path == f"/v1/decisions/{DECISION}/answer"
    assert wire.bodies == [
        {
            "text": "Two years [1].",
            "reference": "24 months.",
            "used": [1, 0],
            "citations": [1],
            "model": "a-reader",
        }
    ]
    assert (answered.status, answered.used_k, answered.used_is_prefix) == ("stored", 2, True)


@pytest.mark.parametrize(
    ("document", "sent"),
    [(0, {"document": {"index": 0}}), ("faq", {"document": {"id": "faq"}}), (None, {})],
)
def test_feedback_speaks_of_a_document_by_its_position_or_its_id(
    document: int | str | None, sent: dict[str, Any]
):
    wire = Wire({"feedback_id": DECISION, "decision_id": DECISION, "status": "stored"})

    client(wire).feedback(DECISION, "thumb", False, document=document)  # noqa: FBT003 - a thumb down

    assert wire.bodies == [
        {
            "decision_id": DECISION,
            "name": "thumb",
            "value": False,
            "source": {"type": "END_USER", "id": "app"},
        }
        | sent
    ]


def test_a_batch_has_one_result_for_each_statement():
    refused = {"status": "refused", "code": 404, "type": "urn:rankloop:X", "detail": "none"}
    kept = {"feedback_id": "f", "decision_id": DECISION, "status": "late"}
    wire = Wire(httpx.Response(207, json={"results": [kept, refused]}))

    results = client(wire).feedback_batch(
        [
            Feedback(decision_id=DECISION, name="correct", value=True, source="CODE"),
            Feedback(decision_id=DECISION, name="quality", error="no verdict"),
        ]
    )

    assert results == [
        Kept(feedback_id="f", decision_id=DECISION, status="late"),
        Refused(status=404, type="urn:rankloop:X", detail="none"),
    ]
    assert [item.get("error") for item in wire.bodies[0]["items"]] == [None, "no verdict"]


def test_feedback_is_taken_back_with_its_decision():
    wire = Wire({"feedback_id": "t", "decision_id": DECISION, "status": "stored"})

    client(wire).delete_feedback("f", decision_id=DECISION)

    assert wire.requests[0].method == "DELETE"
    assert str(wire.requests[0].url) == f"http://service/v1/feedback/f?decision_id={DECISION}"


def test_a_lost_decision_is_found_by_its_content():
    wire = Wire({"decision_id": DECISION, "used": [2, 0], "answered": False})

    found = client(wire).match("how long", ["two years"], within_s=60)

    assert found == Matched(decision_id=DECISION, used=(2, 0), answered=False)
    assert wire.requests[0].url.path == "/v1/decisions/match"
    assert wire.bodies == [{"query": "how long", "used": ["two years"], "within_s": 60}]


def test_an_id_from_outside_stays_one_part_of_the_path():
    wire = Wire({})

    client(wire).decision("../rollback?x=1")

    assert wire.requests[0].url.raw_path == b"/v1/decisions/..%2Frollback%3Fx%3D1"


def test_the_key_is_sent_as_a_bearer_token():
    wire = Wire({})

    client(wire, api_key="rl_secret").decision(DECISION)

    assert wire.requests[0].headers["authorization"] == "Bearer rl_secret"


def test_a_retry_is_the_same_request_with_the_same_key():
    wire = Wire(httpx.ConnectError("down"), httpx.Response(503), ranked(0))

    client(wire, retries=QUICK).rerank("how long", ["two years"])

    assert len(set(wire.keys)) == 1
    assert len({request.content for request in wire.requests}) == 1
    assert len(wire.requests) == 3


def test_two_calls_have_two_keys_and_the_callers_own_comes_first():
    wire = Wire(ranked(0))
    rankloop = client(wire)

    for key in (None, None, "mine"):
        rankloop.rerank("how long", ["two years"], idempotency_key=key)

    assert len(set(wire.keys)) == 3
    assert wire.keys[2] == "mine"


def test_what_will_not_help_is_not_tried_again():
    wire = Wire(httpx.Response(422, json={"detail": "query: is empty"}))

    with pytest.raises(Invalid, match="query: is empty"):
        client(wire, retries=QUICK).rerank("", ["a"])

    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (httpx.ConnectError("down"), Unreachable),
        (httpx.ReadTimeout("slow"), Unreachable),
        (httpx.Response(429), Overloaded),
        (httpx.Response(502, text="<html>"), Unavailable),
    ],
)
def test_the_last_failure_is_raised_when_nothing_helped(
    last: httpx.Response | Exception, error: type[Exception]
):
    wire = Wire(last)

    with pytest.raises(error):
        client(wire, retries=QUICK).decision(DECISION)

    assert len(wire.requests) == QUICK.attempts


async def test_the_async_client_does_the_same():
    wire = Wire(httpx.ConnectError("down"), httpx.Response(429), ranked(1, 0))
    transport = httpx.MockTransport(wire)

    async with AsyncClient("http://service", transport=transport, retries=QUICK) as rankloop:
        ranking = await rankloop.rerank("how long", ["one year", "two years"])

    assert ranking.texts == ["two years", "one year"]
    assert len(set(wire.keys)) == 1
    assert len(wire.requests) == 3


async def test_the_async_client_raises_the_same():
    transport = httpx.MockTransport(Wire(httpx.ConnectError("down")))

    async with AsyncClient("http://service", transport=transport, retries=QUICK) as rankloop:
        with pytest.raises(Unreachable):
            await rankloop.decision(DECISION)


@pytest.mark.parametrize("name", CALLS)
def test_both_clients_show_the_parameters_of_the_call(name: str):
    called = inspect.signature(getattr(all_calls, name))

    for kind in (Client, AsyncClient):
        with_self = inspect.signature(getattr(kind, name))

        assert list(with_self.parameters.values())[1:] == list(called.parameters.values())
        assert getattr(kind, name).__doc__ == getattr(all_calls, name).__doc__


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_proxy_is_not_asked_about_this_machine(
    kind: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    http = kind()._http

    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert http._transport_for_url(httpx.URL(f"http://{host}:8000")) is http._transport
    assert http._transport_for_url(httpx.URL("http://elsewhere")) is not http._transport


def test_the_client_needs_httpx_alone():
    listed = (
        "print(sorted({'fastapi', 'pydantic', 'sqlalchemy', 'torch', 'typer'} & set(sys.modules)))"
    )
    child = subprocess.run(
        [sys.executable, "-c", f"import sys, rankloop.client; {listed}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert child.stdout.strip() == "[]"
