"""The part of the service that remembers, over a real database and without a model.

The tests share one database; each has a tenant and a line of its own.
"""

import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from contract import ids
from contract.policy import Choice, Policy, log_propensity
from contract.records import Candidate, Decision
from service import decisions, dependencies, stores
from service.app import create_app
from service.aside import Aside
from service.callers import Caller
from service.keys import Scope
from service.metrics import Metrics
from service.settings import ServiceSettings
from tests import models
from tests.conftest import TEMPLATE, _rendered, _run

SECRET = b"not much of a secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A client of the service, and a way to put decisions into its database."""

    app: FastAPI
    client: httpx.AsyncClient
    engine: AsyncEngine
    redis: Redis
    metrics: Metrics
    aside: Aside
    name: str
    """Of its tenant and its line."""

    def mint(self, at: datetime | None = None) -> UUID:
        return ids.mint(self.name, secret=SECRET, now=at or datetime.now(UTC))

    async def decide(self, *, keep: bool = True, **changes: Any) -> Decision:
        """A decision over three documents, shown in the order 2, 0, 1."""
        own = {"id": self.mint(), "tenant": self.name, "line": self.name}
        decision = a_decision(**own | changes)
        await self.land(decision, keep=keep)
        return decision

    async def land(self, decision: Decision, *, keep: bool = True) -> None:
        async with self.engine.begin() as connection:
            await decisions.store(connection, [decision], keep_bodies=keep)

    async def say(self, decision_id: UUID, **changes: Any) -> httpx.Response:
        return await self.client.post("/v1/feedback", json=a_statement(decision_id, **changes))


def a_decision(**changes: Any) -> Decision:
    logits, shown = np.array([1.0, 0.5, 2.0]), np.array([2, 0, 1])
    policy = Policy(epsilon=0.5, temperature=1.0, sampled=3)
    choice = Choice(
        shown=shown, cum_log_propensity=log_propensity(logits, shown, policy), explored=False
    )
    fields: dict[str, Any] = {
        "tenant": "default",
        "line": "default",
        "query": "How long is the warranty?",
        "candidates": (
            Candidate(text="One year.", key="old", score=3.0),
            Candidate(text="Ask us.", key="faq", score=2.0),
            Candidate(text="Two years.", key="new", score=1.0),
        ),
        "logits": logits,
        "policy": policy,
        "choice": choice,
        "version": "v1",
        "epoch": 1,
        "precision": "float32",
    }
    return Decision(**fields | changes)


def a_statement(decision_id: UUID, **changes: Any) -> dict[str, Any]:
    return {
        "decision_id": str(decision_id),
        "name": "thumb",
        "value": True,
        "source": {"type": "END_USER", "id": "widget"},
    } | changes


@pytest.fixture(scope="session")
def memory_url(postgres_server: URL) -> str:
    _run(postgres_server, f"CREATE DATABASE memory TEMPLATE {TEMPLATE}")
    return _rendered(postgres_server.set(database="memory"))


@pytest.fixture
async def memory(memory_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Memory]:
    name = secrets.token_hex(4)
    settings = ServiceSettings(
        database_url="unused",
        redis_url="unused",
        artifacts_url=str(tmp_path),
        secret=SecretStr(SECRET.decode()),
        cache_dir=tmp_path,
        line=name,
    )
    redis = Redis.from_url(redis_url, decode_responses=True)
    engine, metrics = create_async_engine(memory_url), Metrics()
    thread = ThreadPoolExecutor(1)
    aside = Aside(thread, metrics)
    app = create_app(settings)
    app.dependency_overrides = {
        dependencies.the_engine: lambda: engine,
        dependencies.the_settings: lambda: settings,
        dependencies.the_secret: lambda: SECRET,
        dependencies.the_metrics: lambda: metrics,
        dependencies.the_caller: lambda: Caller(tenant=name, scopes=frozenset(Scope)),
        stores.the_redis: lambda: redis,
        stores.the_aside: lambda: aside,
    }
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    opened = httpx.AsyncClient(transport=transport, base_url="http://service")
    with thread:
        async with redis, opened as client:
            yield Memory(
                app=app,
                client=client,
                engine=engine,
                redis=redis,
                metrics=metrics,
                aside=aside,
                name=name,
            )
    await engine.dispose()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A version to serve."""
    models.make(tmp_path / "first", seed=1)
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """One that ranks otherwise."""
    models.make(tmp_path / "second", seed=2)
    return tmp_path / "second"
