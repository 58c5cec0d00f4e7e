"""A whole service in a test: the real app over real servers, asked without a socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine

from contract.artifact import MANIFEST, Manifest
from contract.pointer import Live
from contract.store import Store
from service.app import create_app
from service.models import Model
from service.score import Scorer
from service.settings import ServiceSettings
from tests import models

SECRET = "a secret for tests"


def settings(tmp_path: Path, **values: Any) -> ServiceSettings:
    """Quick to poll, on one thread; the servers are nowhere unless given."""
    defaults: dict[str, Any] = {
        "database_url": "postgresql+psycopg://nobody@127.0.0.1:9/nothing",
        "redis_url": "redis://127.0.0.1:9/0",
        "artifacts_url": str(tmp_path / "artifacts"),
        "cache_dir": tmp_path / "cache",
        "secret": SecretStr(SECRET),
        "service_threads": 1,
        "service_poll_s": 0.1,
        # Nothing is stored nowhere, however long one waits.
        "service_drain_s": 10.0 if "database_url" in values else 0.0,
    }
    return ServiceSettings(**(defaults | values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service and its neighbours."""

    app: FastAPI
    client: httpx.AsyncClient
    settings: ServiceSettings
    engine: Engine | None
    """None where no test looks at Postgres."""

    def place(self, folder: Path, *, epoch: int = 1, line: str = "default") -> Live:
        """Serves a version at once, for tests that are not about how it got there."""
        manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
        live = Live(line=line, epoch=epoch, version=manifest.version)
        parts = self.app.state.parts
        scorer = Scorer.load(folder, manifest, precision="float32", runtime=parts.runtime)
        parts.models.serve(Model(live=live, scorer=scorer))
        return live

    def publish(self, folder: Path, *, line: str = "default", share: float | None = None) -> Live:
        """Stores a version and makes it live in Postgres alone, or a canary with that share."""
        assert self.engine is not None
        store = Store(self.settings.artifacts_url)
        return models.publish(self.engine, store, folder, line=line, share=share)

    def announce(self, live: Live) -> None:
        """Tells Redis."""
        models.announce(self.settings.redis_url, live, secret=SECRET.encode())

    async def serves(self, live: Live) -> None:
        """Waits until the line is at this epoch."""
        await until(lambda: self.app.state.parts.models.epoch(live.line) >= live.epoch)

    async def rerank(self, documents: Any, query: Any = "who wrote it", **body: Any) -> Any:
        """The answer's body."""
        asked = {"query": query, "documents": documents} | body
        response = await self.client.post("/v1/rerank", json=asked)
        assert response.status_code == 200, response.text
        return response.json()

    def metric(self, name: str, **labels: str) -> float:
        """What a counter or gauge shows; 0 before it was touched."""
        registry = self.app.state.parts.metrics.registry
        value: float | None = registry.get_sample_value(name, labels)
        return value or 0.0

    async def logged(self) -> None:
        """Waits until nothing waits for Postgres."""
        await until(lambda: not self.app.state.parts.log.waiting)


@asynccontextmanager
async def running(
    configuration: ServiceSettings, engine: Engine | None = None
) -> AsyncIterator[Service]:
    """The app with its lifespan, as uvicorn would run it."""
    app = create_app(configuration)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield Service(app=app, client=client, settings=configuration, engine=engine)


async def until_async(condition: Callable[[], Awaitable[bool]], *, within_s: float = 30.0) -> None:
    """As `until`, of what has to be asked."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Polls, because the service has its own pace."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
