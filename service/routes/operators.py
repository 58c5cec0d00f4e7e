"""What a line serves, how that came about, and what else it may serve."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Body, Depends, Query
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contract.pointer import Live
from service import examples, replicas
from service.dependencies import TheSecret, TheSettings, needs
from service.keys import Scope
from service.openapi import refusals
from service.operators import Operators
from service.schemas.info import Replica
from service.schemas.operators import (
    Canary,
    Change,
    EndCanary,
    Evaluation,
    Freeze,
    HoldBack,
    Listed,
    Model,
    Promote,
    Promotion,
    Rebuild,
    Rollback,
    Run,
)
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
CHANGING: Final = refusals(400, 401, 403, 404, 409, 413, 422, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What a change of what is served takes."""

    operators: Operators
    redis: Redis
    secret: bytes
    own_line: str

    async def did(
        self, change: Callable[..., Awaitable[Live]], body: Change, **own: object
    ) -> Promotion:
        """The new epoch, of which Redis is told at once."""
        live = await change(
            body.line or self.own_line,
            reason=body.reason,
            expected_epoch=body.expected_epoch,
            **own,
        )
        await self._announce(live)
        (newest,) = await self.operators.promotions(live.line, limit=1)
        return Promotion.model_validate(newest)

    async def _announce(self, live: Live) -> None:
        """Without Redis, every replica finds out when it polls Postgres."""
        try:
            async with asyncio.timeout(REDIS_S):
                await tell(self.redis, live, secret=self.secret)
        except (RedisError, OSError) as error:
            logger.warning(
                "operator.not_announced line=%s error=%s", live.line, type(error).__name__
            )


def the_steering(
    operators: TheOperators, redis: TheRedis, secret: TheSecret, settings: TheSettings
) -> Steering:
    return Steering(operators=operators, redis=redis, secret=secret, own_line=settings.line)


TheSteering: TypeAlias = Annotated[Steering, Depends(the_steering)]


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


@router.get("/replicas", responses=READING, dependencies=OPERATES)
async def list_replicas(redis: TheRedis) -> Listed[Replica]:
    """The processes that serve, each with what it serves: whether a promotion has arrived everywhere."""
    return Listed[Replica](data=await replicas.listed(redis))


@router.post("/rollback", responses=CHANGING, dependencies=OPERATES)
async def rollback(
    body: Annotated[Rollback, Body(openapi_examples=examples.ROLLBACK)], steering: TheSteering
) -> Promotion:
    """Serves an earlier version again, as a new epoch; whatever a trainer is about to publish is refused."""
    return await steering.did(steering.operators.roll_back, body, to=body.to)


@router.post("/promotions", responses=CHANGING, dependencies=OPERATES)
async def promote(
    body: Annotated[Promote, Body(openapi_examples=examples.PROMOTE)], steering: TheSteering
) -> Promotion:
    """Serves a version of the line, as a new epoch; whatever a trainer is about to publish is refused."""
    return await steering.did(steering.operators.promote, body, version=body.version)


@router.post("/canary", responses=CHANGING, dependencies=OPERATES)
async def canary(
    body: Annotated[Canary, Body(openapi_examples=examples.CANARY)], steering: TheSteering
) -> Promotion:
    """Lets a version answer a share of the sessions beside the champion, as a new epoch; no round begins meanwhile."""
    return await steering.did(
        steering.operators.canary, body, version=body.version, share=body.share
    )


@router.post("/canary/end", responses=CHANGING, dependencies=OPERATES)
async def end_canary(
    body: Annotated[EndCanary, Body(openapi_examples=examples.END_CANARY)], steering: TheSteering
) -> Promotion:
    """Ends the canary that runs: the champion answers alone, as a new epoch."""
    return await steering.did(steering.operators.end_canary, body)


@router.post("/hold-back", responses=CHANGING, dependencies=OPERATES)
async def hold_back(
    body: Annotated[HoldBack, Body(openapi_examples=examples.HOLD_BACK)], steering: TheSteering
) -> Promotion:
    """Lets the base of the line answer a share of the sessions for good, beside every champion, as a new epoch."""
    return await steering.did(steering.operators.hold_back, body, share=body.share)


@router.post("/rebuild", responses=CHANGING, dependencies=OPERATES)
async def rebuild(
    body: Annotated[Rebuild, Body(openapi_examples=examples.REBUILD)], steering: TheSteering
) -> Promotion:
    """Serves the base of the line, as a new epoch, and has the trainer learn anew from all that is kept."""
    return await steering.did(steering.operators.rebuild, body)


@router.post("/freeze", responses=CHANGING, dependencies=OPERATES)
async def freeze(
    body: Annotated[Freeze, Body(openapi_examples=examples.FREEZE)], steering: TheSteering
) -> Promotion:
    """Stops the trainer of a line, or lets it go on; what is served stays, under a new epoch."""
    return await steering.did(steering.operators.freeze, body, frozen=body.frozen)
