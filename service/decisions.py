"""Decisions on their way to Postgres: never on the path of a request, in batches, and bounded while Postgres is away.

A decision that Postgres refuses is found by halving its batch and left out, so that it blocks no other.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any, Final

from psycopg.errors import CheckViolation
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract.records import Candidate, Decision, Span
from contract.tables import decisions
from service import texts
from service.background import finished_within, kept_running
from service.metrics import Metrics
from service.settings import LogText, ServiceSettings

logger = logging.getLogger(__name__)

_BATCH_DECISIONS: Final = 200
_BATCH_BYTES: Final = 4 << 20
_FIRST_RETRY_S: Final = 0.1
_MAX_RETRY_S: Final = 10.0
_BEHIND_S: Final = 10.0
_ROW_BYTES: Final = 2048
"""What a decision weighs beside its texts, roughly."""
_CANDIDATE_BYTES: Final = 200
"""What a candidate weighs beside its text: itself, its place in the arrays."""


class DecisionLog:
    """The queue before Postgres, and who empties it."""

    def __init__(self, engine: AsyncEngine, settings: ServiceSettings, *, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._keep_bodies = settings.service_log_text is LogText.FULL
        self._metrics = metrics
        self._waiting: deque[Decision] = deque()
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._closing = False
        self._partitioned_on: date | None = None
        self._retry_s = _FIRST_RETRY_S
        self._failing_since: datetime | None = None

    def offer(self, decision: Decision) -> bool:
        """Takes a decision to be stored; false when it will not be."""
        if self._settings.service_log_text is LogText.OFF:
            return self._drop("log_off")
        size = size_bytes(decision)
        if self._waiting_bytes + size > self._settings.service_log_queue_bytes:
            return self._drop("queue_full")
        self._waiting.append(decision)
        self._weigh(size)
        self._something.set()
        return True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stores what is offered, and at the end what still waits, as far as the time allows."""
        async with kept_running(self._run()) as task:
            yield
            self._closing = True
            self._something.set()
            await finished_within(task, self._settings.service_drain_s)
        if self._waiting:
            logger.error("decisions.lost count=%d", len(self._waiting))
            self._metrics.dropped.labels("shutdown").inc(len(self._waiting))

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._something.wait()
            if self._waiting:
                await self._store_some()

    @property
    def waiting(self) -> int:
        """Decisions that are not stored yet."""
        return len(self._waiting)

    @property
    def is_behind(self) -> bool:
        """Whether Postgres has refused or not answered for a while."""
        since = self._failing_since
        return since is not None and (datetime.now(UTC) - since).total_seconds() > _BEHIND_S

    async def _store_some(self) -> None:
        self._failing_since = self._failing_since or datetime.now(UTC)
        try:
            await self._ensure_partitions()
            await self._store(self._next_batch())
        except (SQLAlchemyError, OSError) as error:
            logger.warning(
                "decisions.retry in_s=%.1f error=%s", self._retry_s, type(error).__name__
            )
            await asyncio.sleep(self._retry_s)
            self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)
        else:
            self._retry_s, self._failing_since = _FIRST_RETRY_S, None

    def _next_batch(self) -> list[Decision]:
        batch: list[Decision] = []
        size = 0
        for decision in self._waiting:
            size += size_bytes(decision)
            if batch and (len(batch) == _BATCH_DECISIONS or size > _BATCH_BYTES):
                break
            batch.append(decision)
        return batch

    async def _store(self, batch: Sequence[Decision]) -> None:
        """Stores the decisions at the head of the queue and takes them off it."""
        try:
            async with self._engine.begin() as connection:
                await store(connection, batch, keep_bodies=self._keep_bodies)
        except (SQLAlchemyError, ValueError) as error:
            if not _is_poison(error):
                raise
            if len(batch) == 1:
                self._bury(batch[0], error)
                return
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
        else:
            self._metrics.logged.inc(len(batch))
            self._take_off(len(batch))

    def _bury(self, decision: Decision, error: Exception) -> None:
        logger.error("decisions.dead id=%s error=%s", decision.id, type(error).__name__)
        self._drop("refused_by_postgres")
        self._take_off(1)

    def _take_off(self, count: int) -> None:
        for _ in range(count):
            self._weigh(-size_bytes(self._waiting.popleft()))
        if not self._waiting and not self._closing:
            self._something.clear()

    async def _ensure_partitions(self) -> None:
        today = datetime.now(UTC).date()
        if self._partitioned_on == today:
            return
        try:
            async with self._engine.begin() as connection:
                await connection.execute(select(func.ensure_partitions()))
        except DBAPIError as error:
            # They are made a week ahead, so another replica or the next batch is soon enough.
            logger.warning("decisions.partitions error=%s", type(error).__name__)
        else:
            self._partitioned_on = today

    def _drop(self, reason: str) -> bool:
        self._metrics.dropped.labels(reason).inc()
        return False

    def _weigh(self, size: int) -> None:
        self._waiting_bytes += size
        self._metrics.waiting_bytes.set(self._waiting_bytes)


def _is_poison(error: Exception) -> bool:
    """Whether a row is to blame; everything else is Postgres away or not migrated yet."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError) and not _has_no_partition(error)
    return isinstance(error, StatementError | ValueError)


def _has_no_partition(error: DBAPIError) -> bool:
    """Postgres says it as a check that fails, and names no constraint."""
    cause = error.orig
    return isinstance(cause, CheckViolation) and cause.diag.constraint_name is None


def size_bytes(decision: Decision) -> int:
    """About how much memory a waiting decision holds."""
    said = [decision.query, *decision.tags, *decision.tags.values()]
    texts = sum(len(each.text) + len(each.key or "") for each in decision.candidates)
    rest = _ROW_BYTES + _CANDIDATE_BYTES * len(decision.candidates)
    return rest + texts + sum(len(each) for each in said)


async def store(
    connection: AsyncConnection, batch: Sequence[Decision], *, keep_bodies: bool
) -> None:
    """Decisions with their texts; one that is there already stays as it is."""
    for tenant in sorted({decision.tenant for decision in batch}):
        own = [decision for decision in batch if decision.tenant == tenant]
        bodies = {body for decision in own for body in _bodies(decision)}
        ids = await texts.ids(connection, bodies, tenant=tenant, keep_bodies=keep_bodies)
        await connection.execute(
            insert(decisions).on_conflict_do_nothing(),
            [
                row(decision, {body: ids[texts.sha256(body)] for body in _bodies(decision)})
                for decision in own
            ],
        )


def _bodies(decision: Decision) -> set[str]:
    return {decision.query, *(candidate.text for candidate in decision.candidates)}


def row(decision: Decision, text_ids: dict[str, int]) -> dict[str, Any]:
    """One row of `decisions`."""
    policy, choice, candidates = decision.policy, decision.choice, decision.candidates
    return {
        "decision_id": decision.id,
        "tenant": decision.tenant,
        "line": decision.line,
        "session_hash": decision.session_hash,
        "request_key": decision.request_key,
        "query_text": text_ids[decision.query],
        "epoch": decision.epoch,
        "version": decision.version,
        "precision": decision.precision,
        "arm": str(decision.arm),
        "explored": choice.explored,
        "epsilon": policy.epsilon,
        "temperature": policy.temperature,
        "sampled": policy.sampled,
        "max_fall": policy.max_fall,
        "candidate_texts": [text_ids[candidate.text] for candidate in candidates],
        "candidate_keys": _unless_all_none([candidate.key for candidate in candidates]),
        "span_starts": _unless_all_none([_cut(each)[0] for each in candidates]),
        "span_ends": _unless_all_none([_cut(each)[1] for each in candidates]),
        "first_stage_scores": _unless_all_none([candidate.score for candidate in candidates]),
        "logits": decision.logits.tolist(),
        "shown": choice.shown.tolist(),
        "cum_log_propensity": choice.cum_log_propensity.tolist(),
        "not_learnable": decision.not_learnable,
        "degraded": decision.degraded,
        "tags": dict(decision.tags),
        "latency_ms": decision.latency_ms,
    }


def _cut(candidate: Candidate) -> Span | tuple[None, None]:
    return candidate.span or (None, None)


def _unless_all_none(values: list[Any]) -> list[Any] | None:
    return None if all(value is None for value in values) else values
