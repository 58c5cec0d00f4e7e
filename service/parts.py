"""What a running service is made of; `app` opens and closes it."""

from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from service.aside import Aside
from service.callers import Callers
from service.decisions import DecisionLog
from service.device import Runtime
from service.health import Health
from service.metrics import Metrics
from service.models import Models
from service.rerank import Reranker
from service.settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a route may use."""

    settings: ServiceSettings
    secret: bytes
    engine: AsyncEngine
    redis: Redis
    metrics: Metrics
    runtime: Runtime
    models: Models
    reranker: Reranker
    log: DecisionLog
    aside: Aside
    health: Health
    callers: Callers
