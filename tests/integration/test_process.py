"""`python -m service` as users run it: a process with a socket."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, func, select

from contract.store import Store
from contract.tables import decisions, feedback
from tests import keyholders, models
from tests.serving import SECRET

TREE = Path(__file__).parents[2]
OUTSIDE = {"RANKLOOP_SERVICE_HOST": "0.0.0.0"}  # noqa: S104 - the point of the tests


@pytest.fixture
def environment(tmp_path: Path, database_url: str, redis_url: str) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return {
        "RANKLOOP_DATABASE_URL": database_url,
        "RANKLOOP_REDIS_URL": redis_url,
        "RANKLOOP_ARTIFACTS_URL": str(tmp_path / "artifacts"),
        "RANKLOOP_CACHE_DIR": str(tmp_path / "cache"),
        "RANKLOOP_SECRET": SECRET,
        "RANKLOOP_SERVICE_PORT": str(port),
        "RANKLOOP_SERVICE_THREADS": "1",
        "RANKLOOP_SERVICE_POLL_S": "0.2",
    }


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service"), env=os.environ | environment, cwd=TREE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def answers(client: httpx.AsyncClient, path: str, good: Callable[[str], bool]) -> None:
    """Asks until the text is good."""
    deadline = time.monotonic() + 60
    text = ""
    while not good(text):
        assert time.monotonic() < deadline, text
        await asyncio.sleep(0.05)
        with suppress(httpx.TransportError):
            text = (await client.get(path)).text


def is_ready(text: str) -> bool:
    return '"ready"' in text


async def test_a_stopping_service_answers_what_it_has_begun_and_stores_it(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    models.make(tmp_path / "version")
    models.publish(engine, Store(environment["RANKLOOP_ARTIFACTS_URL"]), tmp_path / "version")
    body = {"query": "who", "documents": [f"document {number}" for number in range(800)]}
    url = f"http://127.0.0.1:{environment['RANKLOOP_SERVICE_PORT']}"
    async with process(environment) as service, httpx.AsyncClient(base_url=url) as client:
        await answers(client, "/readyz", is_ready)
        asked = [
            asyncio.create_task(client.post("/v1/rerank", json=body, timeout=60)) for _ in range(8)
        ]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)

        service.send_signal(signal.SIGTERM)
        responses = await asyncio.gather(*asked, return_exceptions=True)
        assert await service.wait() in {0, -signal.SIGTERM}

    answered = [each for each in responses if isinstance(each, httpx.Response)]
    assert [each.status_code for each in answered] == [200] * 8
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(decisions)).scalar_one()
    assert count == 8


async def test_a_client_that_leaves_takes_its_work_with_it(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    models.make(tmp_path / "version")
    models.publish(engine, Store(environment["RANKLOOP_ARTIFACTS_URL"]), tmp_path / "version")
    body = {"query": "who", "documents": [f"document {number}" * 4 for number in range(1000)]}
    url = f"http://127.0.0.1:{environment['RANKLOOP_SERVICE_PORT']}"
    async with process(environment), httpx.AsyncClient(base_url=url) as client:
        await answers(client, "/readyz", is_ready)
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/rerank", json=body, timeout=httpx.Timeout(10, read=0.001))

        await answers(client, "/metrics", lambda text: "rankloop_abandoned_total 1.0" in text)
        await answers(client, "/metrics", lambda text: "rankloop_queued_tokens 0.0" in text)


def test_a_misspelt_setting_ends_the_start(environment: dict[str, str]) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "service"],
        env=os.environ | environment | {"RANKLOOP_SERVICE_EPSILLON": "0.5"},
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert child.returncode != 0
    assert "RANKLOOP_SERVICE_EPSILLON" in child.stderr


def test_where_others_can_reach_it_nothing_starts_without_a_key(
    environment: dict[str, str],
) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "service"],
        env=os.environ | environment | OUTSIDE,
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert child.returncode == 1
    assert "rankloop keys create" in child.stderr
    assert "RANKLOOP_SERVICE_REQUIRE_KEYS=false" in child.stderr
    assert "Traceback" not in child.stderr


@pytest.mark.parametrize("opened", [True, False])
async def test_it_starts_there_with_a_key_or_open_on_purpose(
    environment: dict[str, str], engine: Engine, *, opened: bool
) -> None:
    if not opened:
        keyholders.make(engine, "rerank")
    settings = {"RANKLOOP_SERVICE_REQUIRE_KEYS": "false"} if opened else {}
    url = f"http://127.0.0.1:{environment['RANKLOOP_SERVICE_PORT']}"
    async with process(environment | OUTSIDE | settings), httpx.AsyncClient(base_url=url) as client:
        await answers(client, "/healthz", lambda text: "alive" in text)

        listed = await client.get("/v1/models")

    assert listed.status_code == (200 if opened else 401)


def test_the_service_imports_no_torch() -> None:
    listed = "print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    child = subprocess.run(
        [sys.executable, "-c", f"import sys, service.__main__, service.probe; {listed}"],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=True,
    )

    assert child.stdout.strip() == "[]"


async def test_racing_posts_of_one_statement_to_two_services_and_after_a_restart_store_one_row(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    models.make(tmp_path / "version")
    models.publish(engine, Store(environment["RANKLOOP_ARTIFACTS_URL"]), tmp_path / "version")
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = environment | {"RANKLOOP_SERVICE_PORT": str(free.getsockname()[1])}
    async with (
        process(environment) as first,
        process(other),
        httpx.AsyncClient(base_url=_url(environment)) as one,
        httpx.AsyncClient(base_url=_url(other)) as two,
    ):
        for client in (one, two):
            await answers(client, "/readyz", is_ready)
        ranked = await one.post("/v1/rerank", json={"query": "who", "documents": ["he", "she"]})
        statement = {
            "id": str(uuid4()),
            "decision_id": ranked.json()["id"],
            "name": "thumb",
            "value": True,
            "source": {"type": "END_USER", "id": "widget"},
        }
        await answers(two, f"/v1/decisions/{ranked.json()['id']}", lambda text: '"shown"' in text)

        async def say(client: httpx.AsyncClient) -> str:
            reply = await client.post("/v1/feedback", json=statement, timeout=60)
            assert reply.status_code == 200, reply.text
            return str(reply.json()["status"])

        raced = await asyncio.gather(*(say(client) for client in [one, two] * 8))
        first.terminate()
        await first.wait()
        async with process(environment):
            await answers(one, "/readyz", is_ready)
            again = await asyncio.gather(*(say(client) for client in [one, two] * 8))

    assert (raced.count("stored"), raced.count("duplicate")) == (1, 15)
    assert again == ["duplicate"] * 16
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(feedback)).scalar_one()
    assert count == 1


def _url(environment: dict[str, str]) -> str:
    return f"http://127.0.0.1:{environment['RANKLOOP_SERVICE_PORT']}"
