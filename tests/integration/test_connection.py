"""What comes over a socket before it is a request."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from bench.fuzz import sockets
from service.connection import MAX_HEAD_BYTES
from tests import models, serving
from tests.sockets import on_a_socket

CHUNKED = (
    b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
)


@pytest.fixture
async def url(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[str]:
    """Over real servers: without them, what asks PostgreSQL is a 503, which some of the hostile stay to hear."""
    models.make(tmp_path / "version")
    settings = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url)
    async with serving.running(settings) as service:
        service.place(tmp_path / "version")
        async with on_a_socket(service.app) as url:
            yield url


async def said_to(url: str, *pieces: bytes) -> bytes:
    """All that comes back, until the service hangs up."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.05)  # or they would arrive as one
        return await asyncio.wait_for(reader.read(), timeout=10)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"a" * MAX_HEAD_BYTES),
        (b"GET / HTTP/1.1\r\nx: ", b"a" * MAX_HEAD_BYTES),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * (MAX_HEAD_BYTES // 6 + 1)),
        (CHUNKED + b"2\r\n{}\r\n0\r\nx: ", b"a" * MAX_HEAD_BYTES),
    ],
)
async def test_a_head_without_end_is_a_problem_and_the_end_of_the_connection(
    url: str, start: bytes, more: bytes
) -> None:
    said = await said_to(url, start, more, b"a")

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 431


async def test_a_body_is_not_a_head(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        documents = ["one two"] * 20_000  # beyond what a head may have
        responses = [
            await client.post("/v1/rerank", json={"query": "a", "documents": documents})
            for _ in range(2)
        ]

    # Too many documents, and read to the end.
    assert [each.status_code for each in responses] == [422, 422]


async def test_chunks_may_be_small_and_many(url: str) -> None:
    one = b"1\r\n \r\n"

    said = await said_to(url, CHUNKED, one * MAX_HEAD_BYTES, b"2\r\n{}\r\n0\r\nx: y\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 422 ")


async def test_what_follows_a_request_and_is_none_ends_both(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"query": "who", "documents": ["a"] * 500}).encode()
    head = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    request = head + f"content-length: {len(body)}\r\n\r\n".encode() + body

    said = await said_to(url, request + b"\x00\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_hostile_connections_get_no_5xx(url: str) -> None:
    parts = urlsplit(url)

    class Target:
        address = (parts.hostname, parts.port)
        key = "none is needed"

    target: Any = Target()
    tally = await asyncio.to_thread(sockets.attack, target, requests=300, seed=0)

    assert tally.findings == []
    assert tally.statuses["200"] > 0
