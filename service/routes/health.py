"""Whether the service is alive, whether it can answer, what it counts and what it is made of."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from service.dependencies import TheMetrics, TheParts
from service.models import Model, Rejection
from service.parts import Parts
from service.version import VERSION

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Whether rerank is answered, and what is missing that it can do without for a while."""

    status: Literal["ready", "no_model"]
    degraded: list[str]
    """Of `postgres`, `redis`, `decision_log`."""


class Serving(BaseModel):
    """One line's model."""

    line: str
    epoch: int
    version: str
    precision: str
    temperature: float
    base: str


class Rejected(BaseModel):
    """A version that this replica was told to serve and does not, and why."""

    line: str
    epoch: int
    version: str
    reason: str
    at: datetime


class Reranks(BaseModel):
    """As Text Embeddings Inference says that a model is a reranker."""

    reranker: dict[str, str] = {}


class Info(BaseModel):
    """What this replica is; the fields that clients of Text Embeddings Inference read come first."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    """The line that answers requests that name no model."""
    model_sha: str | None
    """The version that it serves."""
    model_dtype: str | None
    model_type: Reranks = Reranks()
    max_input_length: int | None
    """Tokens of a query and a document together."""
    max_client_batch_size: int
    """Documents of one request."""
    version: str
    """Of this service."""
    provider: str
    threads: int
    serving: list[Serving]
    rejected: list[Rejected]
    waiting_decisions: int


@router.get("/healthz")
async def alive() -> Alive:
    """The process answers."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Ready}})
@router.get("/health", responses={503: {"model": Ready}})
@router.get("/ping", responses={503: {"model": Ready}})
async def ready(parts: TheParts, response: Response) -> Ready:
    """200 once the default line's model is loaded and warm; a neighbour that is away only degrades."""
    has_model = parts.models.epoch(parts.settings.line) > 0
    response.status_code = 200 if has_model else 503
    return Ready(status="ready" if has_model else "no_model", degraded=_degraded(parts))


@router.get("/metrics", response_class=Response)
async def metrics(metrics: TheMetrics) -> Response:
    """Everything counted, for Prometheus."""
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/info")
async def info(parts: TheParts) -> Info:
    """The active provider, the versions served and the last ones refused."""
    settings = parts.settings
    line = next((each for each in parts.models.serving if each.live.line == settings.line), None)
    return Info(
        model_id=settings.line,
        model_sha=line and line.live.version,
        model_dtype=line and line.scorer.precision,
        max_input_length=line and line.scorer.manifest.max_length,
        max_client_batch_size=settings.service_max_documents,
        version=VERSION,
        provider=parts.runtime.provider,
        threads=parts.runtime.threads,
        serving=[_serving(model) for model in parts.models.serving],
        rejected=[_rejected(each) for each in parts.models.rejections.values()],
        waiting_decisions=parts.log.waiting,
    )


def _degraded(parts: Parts) -> list[str]:
    behind = ["decision_log"] if parts.log.is_behind else []
    return [*parts.health.silent, *behind]


def _serving(model: Model) -> Serving:
    return Serving(
        line=model.live.line,
        epoch=model.live.epoch,
        version=model.live.version,
        precision=model.scorer.precision,
        temperature=model.scorer.variant.temperature,
        base=model.scorer.manifest.base,
    )


def _rejected(rejection: Rejection) -> Rejected:
    return Rejected(
        line=rejection.live.line,
        epoch=rejection.live.epoch,
        version=rejection.live.version,
        reason=rejection.reason,
        at=rejection.at,
    )
