"""Follows what is live: each published version is loaded beside the one that serves, and takes its place or is refused.

Redis brings the word quickly, Postgres has it for certain: whichever names the higher epoch is followed, a lower one
never. Where Redis is behind, it is told, which heals a flushed or failed-over one.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import publication
from contract.pointer import PUBLISH, Keys, Live, PointerForged
from contract.refusals import Refusal
from contract.tables import promotions
from service import retired
from service.health import Health
from service.load import Loader
from service.metrics import Metrics
from service.models import Model, Models, Rejection
from service.score import Scorer

logger = logging.getLogger(__name__)

_REJECTED_RETRY_S: Final = 60.0


class Follower:
    """Keeps the slots of this replica at what is live."""

    def __init__(
        self,
        models: Models,
        *,
        loader: Loader,
        engine: AsyncEngine,
        redis: Redis,
        secret: bytes,
        metrics: Metrics,
        health: Health,
        poll_s: float,
    ) -> None:
        self._models = models
        self._loader = loader
        self._engine = engine
        self._redis = redis
        self._secret = secret
        self._metrics = metrics
        self._health = health
        self._poll_s = poll_s
        self._loading = asyncio.Lock()
        self._retry_at: dict[str, float] = {}

    async def poll(self) -> None:
        """Follows Postgres until cancelled."""
        while True:
            try:
                lives = await published(self._engine)
            except (SQLAlchemyError, OSError) as error:
                logger.warning("swap.postgres error=%s", type(error).__name__)
            else:
                self._health.saw("postgres")
                await self._heal(lives)
                for live in lives.values():
                    await self._offer(live)
            await asyncio.sleep(self._poll_s)

    async def listen(self) -> None:
        """Follows Redis until cancelled."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as wakes:
                    await wakes.psubscribe(Keys.of("*").wake)
                    while True:
                        await self._read_states()
                        await wakes.get_message(timeout=self._poll_s)
            except (RedisError, OSError) as error:
                logger.warning("swap.redis error=%s", type(error).__name__)
            await asyncio.sleep(self._poll_s)

    async def _read_states(self) -> None:
        for line in self._models.lines:
            try:
                live = await announced(self._redis, line, secret=self._secret)
            except PointerForged as forged:
                logger.warning("swap.forged line=%s reason=%s", line, forged)
                self._metrics.swaps.labels(line, "forged").inc()
            else:
                if live is not None:
                    await self._offer(live)
        self._health.saw("redis")

    async def _heal(self, lives: Mapping[str, Live]) -> None:
        """Tells Redis what Postgres knows, where Redis knows less or something that is not ours."""
        for live in lives.values():
            try:
                if await tell(self._redis, live, secret=self._secret):
                    logger.info("swap.healed line=%s epoch=%d", live.line, live.epoch)
                    self._metrics.healed.labels(live.line).inc()
            except (RedisError, OSError) as error:
                logger.warning("swap.not_healed error=%s", type(error).__name__)
                return

    async def _offer(self, live: Live) -> None:
        """Serves what is live unless it serves already, or was refused a moment ago."""
        async with self._loading:
            self._models.announce(live.line)
            served = self._models.epoch(live.line)
            if live.epoch > served and self._is_due(live.version):
                await self._swap(live)
            elif live.epoch == served and not self._models.is_whole(live.line):
                await self._add_missing(live)

    async def _swap(self, live: Live) -> None:
        """The epoch begins once all of it is loaded; the champion answers for what is refused beside it."""
        start = time.perf_counter()
        scorer = await self._scorer(live, live.version)
        if scorer is None:
            return
        self._serve(await self._whole(Model(live=live, scorer=scorer)))
        seconds = time.perf_counter() - start
        logger.info(
            "swap.served line=%s epoch=%d version=%s in_s=%.2f",
            *(live.line, live.epoch, live.version, seconds),
        )

    async def _add_missing(self, live: Live) -> None:
        """Tries once more what was refused."""
        before = self._models.of(live.line)
        after = await self._whole(before)
        if after is not before:
            self._serve(after)

    async def _whole(self, model: Model) -> Model:
        """With those that answer beside it, as far as they can be loaded."""
        live = model.live
        for arm, version in model.missing.items():
            scorer = await self._scorer(live, version) if self._is_due(version) else None
            if scorer is not None:
                logger.info(
                    "swap.beside line=%s epoch=%d arm=%s version=%s",
                    *(live.line, live.epoch, arm, version),
                )
                model = model.with_beside(arm, scorer)
        return model

    def _serve(self, model: Model) -> None:
        live = model.live
        self._models.serve(model)
        self._metrics.epoch.labels(live.line).set(live.epoch)
        self._metrics.canary_share.labels(live.line).set(model.canary_share)
        self._metrics.hold_back_share.labels(live.line).set(model.hold_back_share)
        self._metrics.swaps.labels(live.line, "served").inc()

    async def _scorer(self, live: Live, version: str) -> Scorer | None:
        """The one that serves, where only its place is new; None for a version that is refused."""
        for model in self._models.loaded:
            if model.version == version:
                return model.scorer
        try:
            scorer = await self._loader.load(version)
        # A store fails in as many ways as there are clouds; none of them may end the following.
        except Exception as error:  # noqa: BLE001
            self._reject(live, version, error)
            return None
        retired.when_gone(scorer)
        return scorer

    def _is_due(self, version: str) -> bool:
        return time.monotonic() >= self._retry_at.get(version, 0.0)

    def _reject(self, live: Live, version: str, error: Exception) -> None:
        reason = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
        logger.warning(
            "swap.rejected line=%s epoch=%d version=%s reason=%s",
            *(live.line, live.epoch, version, reason),
        )
        self._retry_at[version] = time.monotonic() + _REJECTED_RETRY_S
        self._metrics.swaps.labels(live.line, "rejected").inc()
        self._models.reject(
            Rejection(live=live, version=version, reason=reason, at=datetime.now(UTC))
        )


async def published(engine: AsyncEngine) -> dict[str, Live]:
    """What every line serves, by Postgres."""
    statement = (
        select(promotions)
        .ext(distinct_on(promotions.c.line))
        .order_by(promotions.c.line, promotions.c.epoch.desc())
    )
    async with engine.connect() as connection:
        rows = await connection.execute(statement)
        return {row.line: publication.pointer(row) for row in rows}


async def announced(redis: Redis, line: str, *, secret: bytes) -> Live | None:
    """What the line serves, by Redis.  Raises `PointerForged`."""
    try:
        epoch, document = await redis.hmget(Keys.of(line).state, ["epoch", "document"])
    except ResponseError as error:
        raise PointerForged("the state is not a hash") from error
    if epoch is None and document is None:
        return None
    live = Live.of_signed(str(document), secret=secret)
    if live.line != line or epoch != str(live.epoch):
        raise PointerForged("the state is a copy of another one")
    return live


async def tell(redis: Redis, live: Live, *, secret: bytes) -> bool:
    """Brings Redis up to what Postgres knows; whether that was needed."""
    keys = Keys.of(live.line)
    try:
        known = await announced(redis, live.line, secret=secret)
    except PointerForged:
        # Its epoch may be any number, and would refuse ours for ever.
        await redis.delete(keys.state)
        known = None
    if known is not None and known.epoch >= live.epoch:
        return False
    document = live.signed(secret=secret)
    await redis.eval(PUBLISH, 3, keys.state, keys.events, keys.wake, live.epoch, document)
    return True
