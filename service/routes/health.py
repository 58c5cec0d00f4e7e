"""Whether the service is alive, whether it can answer, what it counts and what it is made of."""

from datetime import datetime
from typing import Final, Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field

from service.dependencies import TheMetrics, TheParts
from service.models import Model, Rejection
from service.openapi import Responses
from service.parts import Parts
from service.schemas.strict import Out
from service.version import VERSION

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


class Serving(Out):
    """One line's model."""

    line: str
    """Its name."""
    epoch: int
    """Of the line: each change is a new one."""
    version: str
    """The model."""
    precision: str
    """In which it runs."""
    temperature: float
    """By which its scores are divided before an order is drawn."""
    base: str
    """The family of models that it grew from."""


class Rejected(Out):
    """A version that this replica was told to serve and does not, and why."""

    line: str
    """The line it was meant for."""
    epoch: int
    """Of the line."""
    version: str
    """The model that is not served."""
    reason: str
    """Why not."""
    at: datetime
    """When it was refused."""


class Reranks(Out):
    """As Text Embeddings Inference says that a model is a reranker."""

    reranker: dict[str, str] = Field(default_factory=dict)
    """Always empty."""


class Info(Out):
    """What this replica is; the fields that clients of Text Embeddings Inference read come first."""

    model_id: str
    """The line that answers requests that name no model."""
    model_sha: str | None
    """The version that it serves."""
    model_dtype: str | None
    """The precision in which it runs."""
    model_type: Reranks = Reranks()
    """What the model is for."""
    max_input_length: int | None
    """Tokens of a query and a document together."""
    max_client_batch_size: int
    """Documents of one request."""
    version: str
    """Of this service."""
    provider: str
    """Of ONNX Runtime, which runs the models."""
    threads: int
    """Of one inference."""
    serving: list[Serving]
    """What each line serves."""
    rejected: list[Rejected]
    """The last version of each line that was refused."""
    waiting_decisions: int
    """Decisions that wait for Postgres."""


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
    return Ready(status="ready" if has_model else "no_model", degraded=_degraded(parts))


@router.get("/metrics", response_class=PlainTextResponse)
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
