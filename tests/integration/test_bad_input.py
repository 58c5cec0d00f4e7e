"""Whatever is sent: a 4xx with a short problem that repeats none of it, and the next request is answered."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import models, serving
from tests.serving import Service

SENT = "fingerprint"
DEEP = "[" * 100_000
PAIR: dict[str, Any] = {"query": SENT, "documents": [SENT]}


def changed(**fields: object) -> bytes:
    return json.dumps(PAIR | fields).encode()


BODIES = {
    "nothing": b"",
    "no JSON": b"{" + SENT.encode(),
    "binary": bytes(range(256)),
    "invalid UTF-8": b'{"query": "\xff", "documents": ["a"]}',
    "a list": b"[]",
    "a string": b'"fingerprint"',
    "null": b"null",
    "deep nesting": DEEP.encode(),
    "deep metadata": (
        b'{"query": "a", "documents": [{"text": "a", "metadata": {"a": ' + DEEP.encode()
    ),
    "no query": b'{"documents": ["fingerprint"]}',
    "no documents": b'{"query": "fingerprint"}',
    "an empty query": changed(query=""),
    "a blank query": changed(query=" \n\t"),
    "a number as query": changed(query=7),
    "NUL in the query": changed(query="fingerprint\x00"),
    "a surrogate in the query": b'{"query": "fingerprint\\ud800", "documents": ["a"]}',
    "a surrogate pair turned round": b'{"query": "\\udc00\\ud800", "documents": ["a"]}',
    "an empty list": changed(documents=[]),
    "documents as a string": changed(documents=SENT),
    "documents as an object": changed(documents={"0": SENT}),
    "NUL in a document": changed(documents=["a", "fingerprint\x00"]),
    "a surrogate in a document": b'{"query": "a", "documents": ["fingerprint\\udfff"]}',
    "numbers as documents": changed(documents=[1, 2.5]),
    "nulls as documents": changed(documents=[None]),
    "a document without text": changed(documents=[{"id": SENT}]),
    "one document too many": changed(documents=["a"] * 1001),
    "a million documents": changed(documents=[""] * 1_000_000),
    "a million wrong documents": changed(documents=[1] * 340_000),
    "NaN as a score": b'{"query": "a", "documents": [{"text": "a", "score": NaN}]}',
    "infinity as a score": b'{"query": "a", "documents": [{"text": "a", "score": 1e999}]}',
    "a huge integer as a score": changed(documents=[{"text": "a", "score": 10**400}]),
    "a NUL in an id": changed(documents=[{"text": "a", "id": "\x00"}]),
    "top_n of zero": changed(top_n=0),
    "a negative top_n": changed(top_n=-(10**30)),
    "a fractional top_n": changed(top_n=1.5),
    "digits without end": b'{"query": "a", "documents": ["a"], "top_n": ' + b"9" * 10_000 + b"}",
    "an unknown way to explore": changed(explore=SENT),
    "a NUL in a session": changed(session_id="a\x00"),
    "tags that are no texts": changed(tags={"a": 1}),
    "a surrogate in a tag": b'{"query": "a", "documents": ["a"], "tags": {"\\ud800": "a"}}',
    "a long tag": changed(tags={"a": "b" * 1001}),
    "too many rank_fields": changed(rank_fields=["a"] * 33),
    "too many rank_fields in mixedbread's words": json.dumps(
        {"query": "a", "input": [{"a": "b"}], "rank_fields": ["a"] * 33}
    ).encode(),
    "more windows than are read": changed(
        documents=[f"{n} " + "a " * 990 for n in range(500)], max_chunks_per_doc=64
    ),
    "too many tags": changed(tags={str(number): "a" for number in range(100)}),
    "5 MB": changed(query="a" * 5_000_000),
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    models.make(tmp_path / "version")
    async with serving.running(serving.settings(tmp_path)) as service:
        service.place(tmp_path / "version")
        yield service


@pytest.mark.parametrize("name", BODIES)
async def test_it_is_refused_shortly(service: Service, name: str) -> None:
    response = await service.client.post(
        "/v1/rerank", content=BODIES[name], headers={"content-type": "application/json"}
    )

    assert response.status_code in {400, 413, 422}
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) <= 1024
    assert SENT not in response.text
    assert response.json()["status"] == response.status_code


SURPRISES: dict[str, dict[str, Any]] = {
    "unknown fields": {"return_metadata": True, "kwargs": "{}"},
    "fields of documents": {"documents": [{"text": "a", "page": 3}, {"content": "b", "id": 7}]},
    "nulls": dict.fromkeys(
        ("top_n", "max_tokens_per_doc", "max_chunks_per_doc", "return_len", "return_documents")
    ),
    "booleans as strings": {"return_documents": "True", "raw_scores": "false"},
    "numbers as strings": {"top_n": "1"},
    "a score that is none": {"documents": [{"text": "a", "score": "high"}, {"text": "b"}]},
    "the name of a model elsewhere": {"model": "rerank-v3.5"},
    "a model without a name": {"model": ""},
}


@pytest.mark.parametrize("name", SURPRISES)
async def test_what_clients_of_others_send_is_accepted(service: Service, name: str) -> None:
    response = await service.client.post("/v1/rerank", json=PAIR | SURPRISES[name])

    assert response.status_code == 200, response.text


async def test_half_a_surrogate_pair_comes_back_as_it_came(service: Service) -> None:
    cut = {"text": "a", "title": "\ud83d"}

    objects, mixedbread = [
        await service.client.post(
            "/v1/rerank",
            content=json.dumps({"query": "a"} | body),
            headers={"content-type": "application/json"},
        )
        for body in (
            {"documents": [cut], "return_documents": True},
            {"input": [cut], "return_input": True},
        )
    ]

    assert objects.json()["results"][0]["document"] == cut
    assert mixedbread.json()["data"][0]["input"] == cut


async def test_a_body_in_chunks_is_counted_as_it_comes(service: Service) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 100_000

    response = await service.client.post(
        "/v1/rerank", content=endless(), headers={"content-type": "application/json"}
    )

    assert response.status_code == 413
    assert len(response.content) <= 1024


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_an_idempotency_key_has_a_length(service: Service, key: str) -> None:
    response = await service.client.post("/v1/rerank", json=PAIR, headers={"Idempotency-Key": key})

    assert response.status_code == 422


async def test_another_content_type_is_not_read(service: Service) -> None:
    response = await service.client.post(
        "/v1/rerank", content=changed(), headers={"content-type": "text/plain"}
    )

    assert response.status_code == 422
    assert SENT not in response.text


@pytest.mark.parametrize(
    ("path", "methods"), [("/v1/promotions", "GET, POST"), ("/v1/rerank", "POST")]
)
async def test_a_method_that_a_path_does_not_take_is_told_those_that_it_does(
    service: Service, path: str, methods: str
) -> None:
    response = await service.client.request("DELETE", path)

    assert (response.status_code, response.headers["Allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/rerank", 405), ("POST", f"/{SENT}", 404)]
)
async def test_what_is_not_there_is_a_problem_too(
    service: Service, method: str, path: str, status: int
) -> None:
    response = await service.client.request(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert SENT not in response.text


async def test_good_requests_are_answered_after_all_that(service: Service) -> None:
    for body in BODIES.values():
        await service.client.post(
            "/v1/rerank", content=body, headers={"content-type": "application/json"}
        )

    await service.rerank(["a", "", "é\U0001f600 מ"], "\U0001f600", tags={"a": "b"}, top_n=2)
    assert service.metric("rankloop_queued_tokens") == 0
