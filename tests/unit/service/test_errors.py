import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from contract.refusals import Refusal
from service import errors
from service.errors import HttpRefusal, Overloaded, printable


class Teapot(HttpRefusal):
    status = 418


class Other(Refusal):
    """Of another package, which knows nothing of HTTP."""


class Body(BaseModel):
    numbers: list[int]


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = FastAPI()
    errors.register(app)
    said: dict[str, Exception] = {
        "teapot": Teapot("short and stout"),
        "other": Other("no"),
        "overloaded": Overloaded("later"),
        "crash": RuntimeError("a secret"),
        "long": Teapot("é\ud800\n" * 5000),
    }

    @app.get("/{name}")
    async def fail(name: str) -> None:
        raise said[name]

    @app.post("/")
    async def read(body: Body) -> int:
        return sum(body.numbers)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_a_refusal_says_its_status_its_name_and_its_reason(client: httpx.AsyncClient) -> None:
    response = await client.get("/teapot")

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:rankloop:Teapot",
        "title": "I'm a Teapot",
        "status": 418,
        "detail": "short and stout",
    }


async def test_a_refusal_that_knows_nothing_of_http_is_422(client: httpx.AsyncClient) -> None:
    assert (await client.get("/other")).status_code == 422


async def test_overload_says_when_to_come_back_not_all_at_once(client: httpx.AsyncClient) -> None:
    seconds = {(await client.get("/overloaded")).headers["retry-after"] for _ in range(50)}

    assert seconds == {"1", "2"}


async def test_a_crash_tells_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/crash")

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


async def test_a_long_reason_is_cut(client: httpx.AsyncClient) -> None:
    response = await client.get("/long")

    assert response.status_code == 418
    assert len(response.content) <= errors.MAX_PROBLEM_BYTES


async def test_of_many_wrong_fields_the_first_are_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/", json={"numbers": ["input"] * 1000})

    assert response.status_code == 422
    assert response.json()["detail"].startswith("body.numbers.0: Input should be a valid integer")
    assert response.json()["detail"].endswith("; and 995 more")
    assert "input" not in response.text
    assert len(response.content) <= errors.MAX_PROBLEM_BYTES


def test_only_printable_ascii_is_printed() -> None:
    assert printable("aé\ud800\n\x00z", 10) == "a????z"
    assert printable("abc", 2) == "ab"
