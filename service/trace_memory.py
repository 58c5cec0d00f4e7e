"""What traces have said so far, in Redis: bounded for each trace, and forgotten after a quarter of an hour's silence.

A span's texts wait until an answer was made of them. Of what was used the id alone is kept: an export that comes again,
or a root that comes late, finds nothing left to do.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import RedisAway
from service.metrics import Metrics
from service.tracing import Said

KEPT_S: Final = 900
"""A trace that says nothing for so long is forgotten."""
MOST_SPANS: Final = 1_000
"""Of one trace, of those whose texts wait."""
MOST_BYTES: Final = 8 << 20
"""Of the texts of one trace that wait."""
MOST_USED: Final = 10_000
"""Of one trace, spans that were used: a trace that never ends gets no further answers."""

ENDED: Final = "ended"
ADD: Final = """
-- KEYS: what waits (hash), spans that were used (set).
-- ARGV: seconds, most spans, most bytes, most used spans, whether it has ended; then span, text, span, text...
local waiting, used = KEYS[1], KEYS[2]
local spans, bytes, left_out = redis.call('HLEN', waiting), 0, 0
for _, text in ipairs(redis.call('HVALS', waiting)) do bytes = bytes + #text end
if redis.call('SCARD', used) >= tonumber(ARGV[4]) then spans = math.huge end
for place = 6, #ARGV, 2 do
  local span, text = ARGV[place], ARGV[place + 1]
  if redis.call('HEXISTS', waiting, span) + redis.call('SISMEMBER', used, span) == 0 then
    if spans < tonumber(ARGV[2]) and bytes + #text <= tonumber(ARGV[3]) then
      redis.call('HSET', waiting, span, text)
      spans, bytes = spans + 1, bytes + #text
    else
      left_out = left_out + 1
    end
  end
end
if ARGV[5] == '1' then redis.call('HSET', waiting, 'ended', '') end
redis.call('EXPIRE', waiting, ARGV[1])
redis.call('EXPIRE', used, ARGV[1])
return {left_out, redis.call('HGETALL', waiting)}
"""
"""Each span once, and no more than there is room for; replies how many there was none for, and all that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits of one trace."""

    pieces: Mapping[str, str]
    """By span, as JSON."""
    has_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMemory:
    """One tenant's. Every method raises `RedisAway`."""

    redis: Redis
    tenant: str
    metrics: Metrics

    async def add(self, trace_id: str, said: Said) -> Waiting:
        """All that waits of the trace, with what is new."""
        texts = [word for piece in said.pieces.items() for word in piece]
        limits = (KEPT_S, MOST_SPANS, MOST_BYTES, MOST_USED)
        with _redis_answering():
            left_out, flat = await self.redis.eval(
                ADD, 2, *self._keys(trace_id), *limits, int(said.has_ended), *texts
            )
        self.metrics.spans_left_out.inc(left_out)
        pieces = _pairs(flat)
        return Waiting(has_ended=pieces.pop(ENDED, None) is not None, pieces=pieces)

    async def settle(
        self, trace_id: str, *, used: Collection[str], known: Mapping[str, str]
    ) -> None:
        """Drops the texts of the spans that were used, and keeps what is known of others since."""
        waiting, done = self._keys(trace_id)
        with _redis_answering():
            async with self.redis.pipeline(transaction=True) as pipeline:
                if known:
                    pipeline.hset(
                        waiting, items=[word for piece in known.items() for word in piece]
                    )
                if used:
                    pipeline.hdel(waiting, *used)
                    pipeline.sadd(done, *used)
                pipeline.expire(waiting, KEPT_S)
                pipeline.expire(done, KEPT_S)
                await pipeline.execute()

    async def owners(self, decision_ids: Sequence[UUID]) -> list[str | None]:
        """The trace that each decision is of, as far as anybody knows."""
        if not decision_ids:
            return []
        with _redis_answering():
            found = await self.redis.mget([self._decision(each) for each in decision_ids])
        return [None if each is None else str(each) for each in found]

    async def claim(self, decision_id: UUID, trace_id: str) -> bool:
        """Whether the decision is this trace's now."""
        key = self._decision(decision_id)
        with _redis_answering():
            if await self.redis.set(key, trace_id, nx=True, ex=KEPT_S):
                return True
            return bool(await self.redis.get(key) == trace_id)

    async def take(self, decision_id: UUID, trace_id: str) -> None:
        """Makes the decision this trace's, which says so itself, whoever took it for theirs."""
        with _redis_answering():
            await self.redis.set(self._decision(decision_id), trace_id, ex=KEPT_S)

    def _keys(self, trace_id: str) -> tuple[str, str]:
        """Of what waits and of what was used; the braces keep them on one node of a cluster."""
        prefix = f"{{rankloop:traced:{self.tenant}:{trace_id}}}"
        return f"{prefix}:waiting", f"{prefix}:used"

    def _decision(self, decision_id: UUID) -> str:
        return f"{{rankloop:traced:{self.tenant}}}:{decision_id}"


@contextmanager
def _redis_answering() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise RedisAway("Redis does not answer") from error


def _pairs(flat: Sequence[Any]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
