"""Whether the service is alive, whether it can answer, what it counts and what it is made of."""

from typing import Final, Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.dependencies import TheMetrics, TheParts
from service.openapi import Responses
from service.replicas import degraded, told
from service.schemas.info import Info
from service.schemas.strict import Out

router = APIRouter(tags=["health"])


class Alive(Out):
    """The process answers."""

    status: Literal["alive"] = "alive"
    """It answers."""


class Ready(Out):
    """Whether rerank is answered, and what is missing that it can do without for a while."""

    status: Literal["ready", "no_model"]
    """`no_model` before the default line serves one."""
    degraded: list[str]
    """Of `postgres`, `redis`, `decision_log`."""


@router.get("/healthz")
async def alive() -> Alive:
    """The process answers."""
    return Alive()


NOT_READY: Final[Responses] = {503: {"model": Ready, "description": "It cannot rank yet"}}


@router.get("/readyz", responses=NOT_READY)
@router.get("/health", responses=NOT_READY)
@router.get("/ping", responses=NOT_READY)
async def ready(parts: TheParts, response: Response) -> Ready:
    """200 once the default line's model is loaded and warm; a neighbour that is away only degrades."""
    has_model = parts.models.epoch(parts.settings.line) > 0
    response.status_code = 200 if has_model else 503
    return Ready(status="ready" if has_model else "no_model", degraded=degraded(parts))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(metrics: TheMetrics) -> Response:
    """Everything counted, for Prometheus."""
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/info")
async def info(parts: TheParts) -> Info:
    """The active provider, the versions served and the last ones refused."""
    return told(parts)
