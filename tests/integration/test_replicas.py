"""Which replicas there are, as they say themselves in a real Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from service import replicas
from tests import models, serving
from tests.serving import Service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.make(tmp_path / "version")
    return tmp_path / "version"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        yield redis


@asynccontextmanager
async def a_replica(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str, **values: Any
) -> AsyncIterator[Service]:
    settings = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url, **values)
    async with serving.running(settings, engine) as service:
        yield service


async def listed(service: Service) -> list[Any]:
    response = await service.client.get("/v1/replicas")
    assert response.status_code == 200, response.text
    found: list[Any] = response.json()["data"]
    return found


async def test_each_replica_says_what_it_serves(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str, redis_url: str, redis: Redis
):
    async with (
        a_replica(tmp_path, engine, database_url, redis_url, service_port=8001) as one,
        a_replica(tmp_path, engine, database_url, redis_url, service_port=8002) as other,
    ):
        live = one.publish(folder)
        await one.serves(live)
        await other.serves(live)
        await serving.until_async(lambda: _serve(one, live.version, n=2))
        ports = [each["port"] for each in await listed(other)]

    assert ports == [8001, 8002]
    assert [key async for key in redis.scan_iter(replicas.PREFIX + "*")] == []


async def _serve(service: Service, version: str, *, n: int) -> bool:
    found = await listed(service)
    return [each["model_sha"] for each in found] == [version] * n


async def test_what_is_no_replica_is_not_listed(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str, redis: Redis
):
    await redis.set(replicas.PREFIX + "forged", "{}")
    async with a_replica(tmp_path, engine, database_url, redis_url) as service:
        await serving.until_async(lambda: _serve_nothing(service))


async def _serve_nothing(service: Service) -> bool:
    return [each["model_sha"] for each in await listed(service)] == [None]


async def test_without_redis_nobody_knows(tmp_path: Path, engine: Engine, database_url: str):
    settings = serving.settings(tmp_path, database_url=database_url)
    async with serving.running(settings, engine) as service:
        response = await service.client.get("/v1/replicas")

    assert (response.status_code, response.json()["type"]) == (503, "urn:rankloop:RedisAway")
