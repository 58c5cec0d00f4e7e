"""Which replicas there are and what each of them serves: each says so itself, in Redis, as often as it polls."""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.background import kept_running
from service.errors import RedisAway
from service.models import Model, Rejection
from service.parts import Parts
from service.schemas.info import Info, Rejected, Replica, Serving
from service.version import VERSION

logger = logging.getLogger(__name__)

PREFIX: Final = "rankloop:replica:"
SILENT: Final = 3
"""Polls without a word, after which a replica is taken for gone."""
MOST: Final = 1_000


@asynccontextmanager
async def announced(parts: Parts) -> AsyncIterator[None]:
    """Says what this process is until the end, and then that it is gone."""
    key, started_at = PREFIX + secrets.token_hex(8), datetime.now(UTC)
    async with kept_running(_announce(parts, key, started_at)):
        yield
    try:
        await parts.redis.delete(key)
    except (RedisError, OSError) as error:
        logger.info("replica.not_removed error=%s", type(error).__name__)


async def _announce(parts: Parts, key: str, started_at: datetime) -> None:
    poll_s = parts.settings.service_poll_s
    lives = timedelta(seconds=SILENT * poll_s + 1)
    while True:
        said = Replica(
            **told(parts).model_dump(),
            id=key.removeprefix(PREFIX),
            host=socket.gethostname(),
            port=parts.settings.service_port,
            started_at=started_at,
            seen_at=datetime.now(UTC),
            degraded=degraded(parts),
        )
        try:
            await parts.redis.set(key, said.model_dump_json(), ex=lives)
        except (RedisError, OSError) as error:
            logger.warning("replica.not_announced error=%s", type(error).__name__)
        await asyncio.sleep(poll_s)


async def listed(redis: Redis) -> list[Replica]:
    """Those that spoke lately, the oldest first.  Raises `RedisAway`."""
    try:
        keys = [key async for key in redis.scan_iter(PREFIX + "*", count=MOST)][:MOST]
        said = await redis.mget(keys) if keys else []
    except (RedisError, OSError) as error:
        raise RedisAway("Redis does not answer") from error
    replicas = [replica for text in said if text and (replica := _read(text))]
    return sorted(replicas, key=lambda replica: replica.started_at)


def _read(text: bytes | str) -> Replica | None:
    """Nothing where a replica of another release, or somebody else, wrote it."""
    try:
        return Replica.model_validate_json(text)
    except ValidationError:
        return None


def told(parts: Parts) -> Info:
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


def degraded(parts: Parts) -> list[str]:
    behind = ["decision_log"] if parts.log.is_behind else []
    return [*parts.health.silent, *behind]


def _serving(model: Model) -> Serving:
    return Serving(
        line=model.live.line,
        epoch=model.live.epoch,
        version=model.version,
        canary_version=model.canary and model.canary.version,
        canary_share=model.canary_share,
        hold_back_version=model.hold_back and model.hold_back.version,
        hold_back_share=model.hold_back_share,
        precision=model.scorer.precision,
        temperature=model.scorer.variant.temperature,
        base=model.scorer.manifest.base,
    )


def _rejected(rejection: Rejection) -> Rejected:
    return Rejected(
        line=rejection.live.line,
        epoch=rejection.live.epoch,
        version=rejection.version,
        reason=rejection.reason,
        at=rejection.at,
    )
