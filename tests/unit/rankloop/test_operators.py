import json
from collections.abc import Callable

import httpx
import pytest

from rankloop import operators
from rankloop.operators import ServiceAway, ServiceRefused


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://service")


def test_the_overview_asks_for_one_line_and_so_many_rows() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"data": [{"path": request.url.path}]})

    overview = operators.overview(client(answer), line="fr", limit=3)

    assert asked == [
        f"http://service/v1/{name}?limit=3&line=fr"
        for name in ("models", "promotions", "runs", "evaluations")
    ]
    assert overview.runs == [{"path": "/v1/runs"}]


def test_a_rollback_says_only_what_it_was_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"path": request.url.path, **json.loads(request.content)})

    promotion = operators.rollback(client(answer), to=None, reason="worse")

    assert promotion == {"path": "/v1/rollback", "reason": "worse"}


def test_promoting_and_freezing_say_only_what_they_were_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"path": request.url.path, **json.loads(request.content)})

    promotion = operators.promote(client(answer), version="v2", reason="better")
    frozen = operators.freeze(client(answer), frozen=True, reason="wait", line="fr")

    assert promotion == {"path": "/v1/promotions", "version": "v2", "reason": "better"}
    assert frozen == {"path": "/v1/freeze", "frozen": True, "reason": "wait", "line": "fr"}


def test_a_canary_is_begun_with_its_share_and_ended_without_a_name() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"path": request.url.path, **json.loads(request.content)})

    begun = operators.canary(client(answer), version="v2", share=0.1, reason="try")
    ended = operators.end_canary(client(answer), reason="complaints", line="fr")

    assert begun == {"path": "/v1/canary", "version": "v2", "share": 0.1, "reason": "try"}
    assert ended == {"path": "/v1/canary/end", "reason": "complaints", "line": "fr"}


def test_a_hold_back_says_its_share_and_nobody_is_a_share_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"path": request.url.path, **json.loads(request.content)})

    begun = operators.hold_back(client(answer), share=0.02, reason="measure")
    ended = operators.hold_back(client(answer), share=0.0, reason="it is known", line="fr")

    assert begun == {"path": "/v1/hold-back", "share": 0.02, "reason": "measure"}
    assert ended == {"path": "/v1/hold-back", "share": 0, "reason": "it is known", "line": "fr"}


def test_a_refusal_carries_the_services_own_words() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(409, json={"title": "NothingToRollBack", "detail": "no champion"})

    with pytest.raises(ServiceRefused, match="409: no champion"):
        operators.rollback(client(answer), to=None, reason="worse")


@pytest.mark.parametrize("body", ["<html>", "[]"])
def test_somebody_else_at_the_address_is_no_service(body: str) -> None:
    with pytest.raises(ServiceAway, match="http://service"):
        operators.overview(client(lambda _: httpx.Response(200, text=body)), line=None, limit=1)


def test_nobody_at_the_address_is_no_service() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ServiceAway, match="refused"):
        operators.overview(client(answer), line=None, limit=1)


def test_a_key_goes_with_every_request() -> None:
    with operators.client("http://service", key="rl_1_2") as keyed:
        assert keyed.headers["Authorization"] == "Bearer rl_1_2"
    with operators.client("http://service") as keyless:
        assert "Authorization" not in keyless.headers


def test_a_quarantine_names_the_source_by_its_type_and_id() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=json.loads(request.content))

    said = operators.quarantine(
        client(answer), "end_user:a:b", quarantined=True, reason="votes against all"
    )

    assert said == {
        "source": {"type": "END_USER", "id": "a:b"},
        "quarantined": True,
        "reason": "votes against all",
    }
