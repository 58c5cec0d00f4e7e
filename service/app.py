"""The wiring: one place opens everything, joins it, and closes it in the other order."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import numpy as np
from fastapi import APIRouter, FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.middleware.cors import CORSMiddleware

from contract.store import Store
from service import device, errors, replicas
from service.aside import Aside
from service.background import kept_running
from service.batching import Batcher
from service.callers import Callers
from service.decisions import DecisionLog
from service.failures import FailureLog
from service.health import Health
from service.in_time import end_overdue
from service.keyring import Keyring
from service.load import Loader
from service.metrics import Metrics
from service.middleware import RequestMetrics, TooLargeIsAProblem
from service.models import Models
from service.openapi import Documented
from service.parts import Parts
from service.rerank import Reranker
from service.routes import (
    answers,
    decisions,
    feedback,
    flow,
    health,
    judge,
    operators,
    quarantines,
    replays,
    rerank,
    traces,
)
from service.settings import ServiceSettings
from service.swap import Follower
from service.token_cache import TokenCache
from service.version import VERSION

ROUTERS: Final = tuple(
    module.router
    for module in (
        *(
            rerank,
            answers,
            feedback,
            decisions,
            flow,
            judge,
            replays,
            operators,
            quarantines,
            health,
            traces,
        ),
    )
)

_TOKENIZING_THREADS: Final = 2
_READING_THREADS: Final = 1
"""Of traces: there is no hurry, and the interpreter runs one thread at a time."""
_SOCKET_TIMEOUT_S: Final = 5
_SILENT_S: Final = 10.0
"""A neighbour that says nothing for so much longer than a poll takes is away."""


def create_app(settings: ServiceSettings) -> FastAPI:
    """The whole service; its parts live as long as its lifespan."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.parts = await _open(settings, metrics, stack)
            yield

    app = Documented(
        title="Rankloop",
        summary="A reranker that learns from what the LLM did with its documents.",
        version=VERSION,
        lifespan=lifespan,
    )
    app.state.settings = settings
    errors.register(app)
    app.add_middleware(TooLargeIsAProblem)
    app.add_middleware(RequestMetrics, metrics=metrics)
    if settings.service_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.service_cors_origins,
            allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
        )
    # A limit of the app itself would answer outside of our middleware.
    routes = APIRouter(max_body_size=settings.service_max_body_bytes)
    for router in ROUTERS:
        routes.include_router(router)
    app.include_router(routes)
    return app


async def _open(settings: ServiceSettings, metrics: Metrics, stack: AsyncExitStack) -> Parts:
    """Raises `DeviceUnavailable`; a database or a Redis that is away is waited for while serving."""
    runtime = device.choose(settings.service_device, threads=settings.service_threads)
    batch_tokens = settings.service_batch_tokens or runtime.batch_tokens
    secret = settings.secret.get_secret_value().encode()
    engine, redis = _engine(settings), _redis(settings)
    # Requests that wait for Postgres hold up neither the log nor what is read of keys and models.
    background = _engine(settings)
    for closed in (engine.dispose, background.dispose, redis.aclose, end_overdue):
        stack.push_async_callback(closed)
    log = DecisionLog(background, settings, metrics=metrics)
    await stack.enter_async_context(log.running())
    failures = FailureLog(background, metrics=metrics)
    await stack.enter_async_context(failures.running())
    keyring = Keyring(background, pepper=secret, hold_s=settings.service_keys_hold_s)
    await stack.enter_async_context(kept_running(keyring.poll()))
    models = Models(settings.line, refuses_unknown=settings.service_refuse_unknown_models)
    reranker = Reranker(
        models,
        settings,
        batcher=stack.enter_context(Batcher(metrics, budget_tokens=batch_tokens)),
        log=log,
        failures=failures,
        metrics=metrics,
        tokenizing=stack.enter_context(ThreadPoolExecutor(_TOKENIZING_THREADS, "tokenize")),
        token_cache=TokenCache(metrics, max_bytes=settings.service_token_cache_bytes),
        rng=np.random.default_rng(),
    )
    parts = Parts(
        settings=settings,
        secret=secret,
        engine=engine,
        redis=redis,
        metrics=metrics,
        runtime=runtime,
        models=models,
        reranker=reranker,
        log=log,
        aside=Aside(stack.enter_context(ThreadPoolExecutor(_READING_THREADS, "read")), metrics),
        health=Health(silent_after_s=_SILENT_S + settings.service_poll_s),
        callers=Callers(keyring=keyring, secret=secret, keys_required=settings.keys_required),
    )
    follower = _follower(parts, background)
    await stack.enter_async_context(kept_running(follower.poll()))
    await stack.enter_async_context(kept_running(follower.listen()))
    await stack.enter_async_context(replicas.announced(parts))
    return parts


def _follower(parts: Parts, engine: AsyncEngine) -> Follower:
    settings = parts.settings
    loader = Loader(
        Store(settings.artifacts_url),
        settings.cache_dir,
        runtime=parts.runtime,
        precision=settings.service_precision,
        batch_tokens=settings.service_batch_tokens or parts.runtime.batch_tokens,
    )
    return Follower(
        parts.models,
        loader=loader,
        engine=engine,
        redis=parts.redis,
        secret=parts.secret,
        metrics=parts.metrics,
        health=parts.health,
        poll_s=settings.service_poll_s,
    )


def _redis(settings: ServiceSettings) -> Redis:
    return Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        encoding_errors="replace",
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_SOCKET_TIMEOUT_S,
    )


def _engine(settings: ServiceSettings) -> AsyncEngine:
    return create_async_engine(
        settings.database_url,
        pool_pre_ping=True,
        pool_timeout=_SOCKET_TIMEOUT_S,
        connect_args={"connect_timeout": _SOCKET_TIMEOUT_S},
    )
