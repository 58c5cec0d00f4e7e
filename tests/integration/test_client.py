"""The client over a socket: against the real service, and against a server that says no first."""

import asyncio
import json
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, Table, func, select

from contract.tables import answers, decisions, feedback
from rankloop.client import (
    APIError,
    AsyncClient,
    AuthenticationError,
    Client,
    Conflict,
    Document,
    Feedback,
    Invalid,
    Kept,
    NotFound,
    Overloaded,
    Refused,
    Retries,
    Unreachable,
)
from tests import models, serving
from tests.serving import Service
from tests.sockets import on_a_socket

DOCUMENT = Path(__file__).parents[2] / "docs" / "integrations.md"
QUERY = "How long is the warranty?"
DOCUMENTS = [
    Document(text="One year.", id="old", score=3.0),
    Document(text="Ask us.", id="faq", score=2.0),
    Document(text="Two years.", id="new", score=1.0),
]
QUICK = Retries(first_s=0.01)
NOBODY = "0199ab00-0000-7000-8000-000000000001"


@pytest.fixture
async def service(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str
) -> AsyncIterator[Service]:
    settings = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url)
    models.make(tmp_path / "model")
    async with serving.running(settings, engine) as service:
        service.place(tmp_path / "model")
        yield service


@pytest.fixture
async def url(service: Service) -> AsyncIterator[str]:
    async with on_a_socket(service.app) as url:
        yield url


class LosesReplies(httpx.AsyncHTTPTransport):
    """The first reply to each path is lost after the service has done what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.url.path not in self.lost:
            self.lost.add(request.url.path)
            await response.aread()
            raise httpx.ReadError("the connection broke", request=request)
        return response


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


async def test_one_lap_of_the_loop(url: str, service: Service):
    async with AsyncClient(url) as rankloop:
        ranking = await rankloop.rerank(QUERY, DOCUMENTS, top_n=2, tags={"page": "help"})
        used = [result.index for result in ranking.results]
        answered = await rankloop.answer(
            ranking.id,
            text="Two years.",
            reference="24 months.",
            used=used,
            citations=used[:1],
            model="a-reader",
        )
        kept = await rankloop.feedback(ranking.id, "thumb", value=True, document=used[0])
        await rankloop.delete_feedback(kept.feedback_id, decision_id=ranking.id)
        await service.logged()
        decision = await rankloop.decision(ranking.id)

    assert ranking.texts == [DOCUMENTS[index].text for index in used]
    assert answered.used_k == 2
    assert (decision["query"], decision["tags"]) == (QUERY, {"page": "help"})
    assert [each["id"] for each in decision["candidates"]] == ["old", "faq", "new"]
    assert [each["score"] for each in decision["candidates"]] == [3.0, 2.0, 1.0]
    assert decision["answer"]["text"] == "Two years."
    assert decision["answer"]["reference"] == "24 months."
    assert decision["answer"]["citations"] == used[:1]
    assert [said["retracted"] for said in decision["feedback"]] == [False, True]


async def test_an_app_that_lost_the_id_finds_its_decision(url: str, service: Service):
    async with AsyncClient(url) as rankloop:
        ranking = await rankloop.rerank(QUERY, DOCUMENTS)
        await service.logged()
        found = await rankloop.match(QUERY, ranking.texts[:2])
        await rankloop.answer(found.decision_id, used=found.used, text="Two years.")

    assert found.decision_id == ranking.id
    assert list(found.used) == [result.index for result in ranking.results[:2]]
    assert not found.answered


async def test_a_browser_may_say_what_its_user_thinks_and_nothing_else(url: str):
    async with AsyncClient(url) as rankloop:
        ranking = await rankloop.rerank(QUERY, DOCUMENTS)

    async with AsyncClient(url, api_key=ranking.feedback_token) as browser:
        kept = await browser.feedback(ranking.id, "thumb", value=True, source_id="widget")
        with pytest.raises(AuthenticationError):
            await browser.decision(ranking.id)

    assert kept.decision_id == ranking.id


async def test_what_is_read_of_a_document_is_what_was_asked_for(url: str, service: Service):
    # The tiny model reads about 100 letters.
    long = "one two " * 40
    async with AsyncClient(url) as rankloop:
        cut = await rankloop.rerank(QUERY, [long, "Ask us."])
        whole = await rankloop.rerank(QUERY, [long, "Ask us."], max_chunks_per_doc=50)
        sooner = await rankloop.rerank(QUERY, ["red sun one two", "Ask"], max_tokens_per_doc=3)
        with pytest.raises(Invalid):
            await rankloop.rerank(QUERY, [long, "Ask us."], truncate=False)
        titled = await rankloop.rerank(
            QUERY,
            [Document(text="Two years.", metadata={"title": "New", "owner": "ann"})],
            rank_fields=["title", "text"],
        )
        await service.logged()
        decision = await rankloop.decision(titled.id)

    assert (cut.truncated, whole.truncated, sooner.truncated) == ((0,), (), (0,))
    assert [each["text"] for each in decision["candidates"]] == ["title: New\ntext: Two years."]


async def test_scores_may_be_logits(url: str):
    async with AsyncClient(url) as rankloop:
        scores = await rankloop.rerank(QUERY, DOCUMENTS, explore="never")
        logits = await rankloop.rerank(QUERY, DOCUMENTS, explore="never", raw_scores=True)

    assert [each.relevance_score for each in scores.results] == pytest.approx(
        [1 / (1 + math.exp(-each.relevance_score)) for each in logits.results]
    )


async def test_the_documented_lap_runs(url: str, service: Service):
    block = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {
        "question": QUERY,
        "texts": [document.text for document in DOCUMENTS],
        "ask_llm": lambda question, texts: f"{texts[0]} [1]",
    }

    await asyncio.to_thread(exec, block[1].replace("http://127.0.0.1:8000", url), names)

    await service.logged()
    async with AsyncClient(url) as rankloop:
        decision = await rankloop.decision(names["ranking"].id)
    assert decision["answer"]["text"] == names["answer"]
    assert [said["value"] for said in decision["feedback"]] == [True]


async def test_a_batch_keeps_what_is_right_of_it(url: str):
    async with AsyncClient(url) as rankloop:
        ranking = await rankloop.rerank(QUERY, DOCUMENTS)
        right, wrong = await rankloop.feedback_batch(
            [
                Feedback(decision_id=ranking.id, name="correct", value=True, source="CODE"),
                Feedback(decision_id=NOBODY, name="correct", value=True, source="CODE"),
            ]
        )

    assert isinstance(right, Kept)
    assert isinstance(wrong, Refused)
    assert (wrong.status, wrong.type) == (404, "urn:rankloop:UnknownDecision")


async def test_threads_may_share_a_client(url: str, service: Service, engine: Engine):
    def ask(number: int) -> str:
        return rankloop.rerank(f"{QUERY} {number}", DOCUMENTS).id

    with Client(url) as rankloop:
        ids = await asyncio.gather(*(asyncio.to_thread(ask, number) for number in range(8)))

    await service.logged()
    assert len(set(ids)) == 8
    assert count(engine, decisions) == 8


async def test_a_reply_that_was_lost_makes_no_second_row(
    url: str, service: Service, engine: Engine
):
    transport = LosesReplies()
    async with AsyncClient(url, transport=transport, retries=QUICK) as rankloop:
        ranking = await rankloop.rerank(QUERY, DOCUMENTS)
        await rankloop.answer(ranking.id, used_k=1, text="Two years.")
        kept = await rankloop.feedback(ranking.id, "thumb", value=True)
        await rankloop.feedback_batch(
            [Feedback(decision_id=ranking.id, name="correct", value=value) for value in (0.5, 1.0)]
        )

    await service.logged()
    assert len(transport.lost) == 4
    assert kept.status == "duplicate"
    assert count(engine, decisions) == 1
    assert count(engine, answers) == 1
    assert count(engine, feedback) == 3


@pytest.mark.parametrize(
    ("call", "error", "kind"),
    [
        (lambda client, id_: client.rerank(" ", DOCUMENTS), Invalid, "Invalid"),
        (lambda client, id_: client.answer(NOBODY, used_k=1), NotFound, "UnknownDecision"),
        (lambda client, id_: client.answer(id_, used_k=2), Conflict, "AnsweredOtherwise"),
        (lambda client, id_: client.match("what", ["nobody used it"]), NotFound, "UnknownDecision"),
        (
            lambda client, id_: client.feedback(id_, "thumb", value=False, idempotency_key="same"),
            Invalid,
            "KeyReused",
        ),
    ],
)
async def test_a_refusal_is_an_error_with_its_name(
    call: Callable[[AsyncClient, str], Any], error: type[APIError], kind: str, url: str
):
    async with AsyncClient(url) as rankloop:
        ranking = await rankloop.rerank(QUERY, DOCUMENTS)
        await rankloop.answer(ranking.id, used_k=1)
        await rankloop.feedback(ranking.id, "thumb", value=True, idempotency_key="same")

        with pytest.raises(error) as refused:
            await call(rankloop, ranking.id)

    assert refused.value.type == f"urn:rankloop:{kind}"


@contextmanager
def refusing(*script: tuple[int, Mapping[str, str]]) -> Iterator[tuple[str, list[float]]]:
    """A server that says each reply of the script once, and the last one again and again; and when it was asked."""
    replies, asked_at = list(script), []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked_at.append(time.monotonic())
            status, headers = replies.pop(0) if len(replies) > 1 else replies[0]
            body = json.dumps({"detail": "busy"}).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked_at
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [429, 503])
def test_the_client_comes_back_when_it_was_told_to(status: int):
    with (
        refusing((status, {"Retry-After": "1"}), (200, {})) as (url, asked_at),
        Client(url, retries=QUICK) as rankloop,
    ):
        assert rankloop.decision(NOBODY) == {"detail": "busy"}

    first, second = asked_at
    assert 1 <= second - first < 5


async def test_the_async_client_comes_back_when_it_was_told_to():
    with refusing((429, {"Retry-After": "1"}), (200, {})) as (url, asked_at):
        async with AsyncClient(url, retries=QUICK) as rankloop:
            await rankloop.decision(NOBODY)

    first, second = asked_at
    assert 1 <= second - first < 5


def test_a_service_that_stays_overloaded_is_an_error_that_says_for_how_long():
    with (
        refusing((429, {"Retry-After": "60"})) as (url, asked_at),
        Client(url) as rankloop,
        pytest.raises(Overloaded, match="429: busy") as refused,
    ):
        rankloop.decision(NOBODY)

    assert refused.value.retry_after_s == 60
    assert len(asked_at) == 1


def test_where_nobody_listens_the_service_is_unreachable():
    with refusing((200, {})) as (url, _):
        pass

    with Client(url, retries=QUICK) as rankloop, pytest.raises(Unreachable, match="ConnectError"):
        rankloop.decision(NOBODY)
