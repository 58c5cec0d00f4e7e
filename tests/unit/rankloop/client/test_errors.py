import httpx
import pytest

from rankloop.client import (
    APIError,
    AuthenticationError,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Overloaded,
    RankloopError,
    Unavailable,
    Unreadable,
)
from rankloop.client.calls import decision, rerank
from rankloop.client.errors import error_of


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, APIError),
        (400, Invalid),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (413, Invalid),
        (418, APIError),
        (422, Invalid),
        (429, Overloaded),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_status_is_an_error_with_its_own_class(status: int, kind: type[APIError]):
    problem = {"type": "urn:rankloop:Some", "title": "No", "status": status, "detail": "why"}

    error = error_of(httpx.Response(status, json=problem))

    assert type(error) is kind
    assert (error.status, error.type, error.detail) == (status, "urn:rankloop:Some", "why")
    assert str(error) == f"{status}: why"
    assert isinstance(error, RankloopError)


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b'"<html>Bad Gateway</html>"'])
def test_a_proxys_own_page_is_an_error_too(body: bytes):
    error = error_of(httpx.Response(502, content=body))

    assert (error.status, error.type) == (502, "about:blank")
    assert "Bad Gateway" in error.detail


def test_an_error_tells_how_long_to_stay_away():
    assert error_of(httpx.Response(429, headers={"Retry-After": "7"})).retry_after_s == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"meta": 1}'])
def test_a_reply_of_somebody_else_is_unreadable(body: bytes):
    with pytest.raises(Unreadable, match="POST /v1/rerank: not a reply of Rankloop"):
        rerank("how long", ["two years"]).result(httpx.Response(200, content=body))


def test_a_field_that_this_client_does_not_know_is_no_error():
    reply = httpx.Response(200, json={"id": "d", "of_a_later_version": True})

    assert decision("d").result(reply) == {"id": "d", "of_a_later_version": True}
