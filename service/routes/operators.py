"""What a line serves, how that came about, and the way back."""

import asyncio
import logging
from typing import Annotated, Final

from fastapi import APIRouter, Body, Query
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contract.pointer import Live
from service import examples
from service.dependencies import TheSecret, TheSettings, needs
from service.keys import Scope
from service.openapi import refusals
from service.schemas.operators import Evaluation, Listed, Model, Promotion, Rollback, Run
from service.stores import TheOperators, TheRedis
from service.swap import tell
from service.texts import Name

logger = logging.getLogger(__name__)

REDIS_S: Final = 2.0

router = APIRouter(prefix="/v1", tags=["operators"])

OPERATES: Final = [needs(Scope.OPERATE)]

Line = Annotated[Name | None, Query(description="The service's own line when absent.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many entries at most.")]
READING: Final = refusals(401, 403, 422, 503)


# Clients of other rerankers list the models with the key that they rank with.
@router.get("/models", responses=READING, dependencies=[needs(Scope.RERANK, Scope.OPERATE)])
async def models(
    operators: TheOperators, settings: TheSettings, line: Line = None, limit: Limit = 100
) -> Listed[Model]:
    """The versions of a line."""
    rows = await operators.models(line or settings.line, limit=limit)
    return Listed[Model](data=[Model.model_validate(row) for row in rows])


@router.get("/promotions", responses=READING, dependencies=OPERATES)
async def promotions(
    operators: TheOperators, settings: TheSettings, line: Line = None, limit: Limit = 100
) -> Listed[Promotion]:
    """Every change of what a line serves; the first entry is what it serves now."""
    rows = await operators.promotions(line or settings.line, limit=limit)
    return Listed[Promotion](data=[Promotion.model_validate(row) for row in rows])


@router.get("/runs", responses=READING, dependencies=OPERATES)
async def runs(
    operators: TheOperators, settings: TheSettings, line: Line = None, limit: Limit = 100
) -> Listed[Run]:
    """Training rounds, what they read and what came of them."""
    rows = await operators.runs(line or settings.line, limit=limit)
    return Listed[Run](data=[Run.model_validate(row) for row in rows])


@router.get("/evaluations", responses=READING, dependencies=OPERATES)
async def evaluations(
    operators: TheOperators, settings: TheSettings, line: Line = None, limit: Limit = 100
) -> Listed[Evaluation]:
    """The gate's verdicts, each with its evidence."""
    rows = await operators.evaluations(line or settings.line, limit=limit)
    return Listed[Evaluation](data=[Evaluation.model_validate(row) for row in rows])


@router.post(
    "/rollback",
    responses=refusals(400, 401, 403, 404, 409, 413, 422, 503),
    dependencies=OPERATES,
)
async def rollback(
    body: Annotated[Rollback, Body(openapi_examples=examples.ROLLBACK)],
    operators: TheOperators,
    settings: TheSettings,
    redis: TheRedis,
    secret: TheSecret,
) -> Promotion:
    """Serves an earlier version again, as a new epoch; whatever a trainer is about to publish is refused."""
    live = await operators.roll_back(
        body.line or settings.line,
        to=body.to,
        reason=body.reason,
        expected_epoch=body.expected_epoch,
    )
    await _announce(live, redis, secret=secret)
    (newest,) = await operators.promotions(live.line, limit=1)
    return Promotion.model_validate(newest)


async def _announce(live: Live, redis: Redis, *, secret: bytes) -> None:
    """Tells Redis at once; without it, every replica finds out when it polls Postgres."""
    try:
        async with asyncio.timeout(REDIS_S):
            await tell(redis, live, secret=secret)
    except (RedisError, OSError) as error:
        logger.warning("rollback.not_announced line=%s error=%s", live.line, type(error).__name__)
