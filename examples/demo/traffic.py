"""Users of the application: they come at a steady rate, and some say later, not always truly, whether it helped."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from examples.demo.application import Answered, Application, ReaderFailed, ServiceFailed
from examples.demo.worlds import Ask

CONCURRENCY: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How far the rewards that Rankloop gets to see are from the truth."""

    flipped: float = 0.1
    missing: float = 0.4
    delay_s: tuple[float, float] = (1.0, 10.0)

    def fate(self, rng: random.Random) -> "Fate":
        return Fate(
            is_missing=rng.random() < self.missing,
            is_flipped=rng.random() < self.flipped,
            delay_s=rng.uniform(*self.delay_s),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one reward."""

    is_missing: bool
    is_flipped: bool
    delay_s: float


@dataclass(slots=True, kw_only=True)
class Tally:
    """What traffic has come to so far."""

    answered: list[Answered] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    """As they were sent: noisy, late, and fewer than answers."""
    failures: list[str] = field(default_factory=list)
    """One line for each request to Rankloop that got no 2xx."""
    reader_failures: list[str] = field(default_factory=list)


async def flow(
    application: Application,
    asks: Iterable[Ask],
    *,
    rate_per_s: float,
    noise: Noise,
    seed: int,
    tally: Tally,
) -> None:
    """Sends every ask, at most so many a second and at most four at once; ends with the last reward."""
    rng = random.Random(seed)
    free = asyncio.Semaphore(CONCURRENCY)
    async with asyncio.TaskGroup() as visits:
        async for ask in _paced(asks, rate_per_s=rate_per_s):
            await free.acquire()
            visits.create_task(_visit(application, ask, noise.fate(rng), free=free, tally=tally))


async def held_out(
    application: Application, asks: Sequence[Ask], *, tally: Tally
) -> list[Answered]:
    """Answers every ask without exploration and without a reward; those that failed are left out."""
    free = asyncio.Semaphore(CONCURRENCY)

    async def one(ask: Ask) -> Answered | None:
        async with free:
            return await _answered(application, ask, explore="never", tally=tally)

    answered = await asyncio.gather(*map(one, asks))
    return [each for each in answered if each is not None]


async def _visit(
    application: Application, ask: Ask, fate: Fate, *, free: asyncio.Semaphore, tally: Tally
) -> None:
    answered = await _answered(application, ask, explore="auto", tally=tally)
    free.release()
    if answered is None:
        return
    tally.answered.append(answered)
    if fate.is_missing:
        return
    await asyncio.sleep(fate.delay_s)
    value = 1 - answered.quality if fate.is_flipped else answered.quality
    try:
        await application.reward(answered.decision_id, value)
    except ServiceFailed as failure:
        tally.failures.append(str(failure))
    else:
        tally.rewards.append(value)


async def _answered(
    application: Application, ask: Ask, *, explore: str, tally: Tally
) -> Answered | None:
    try:
        # Every visitor is a session of its own: nobody is owed the order that another one saw.
        return await application.answer(ask, explore=explore, session_id=uuid4().hex)
    except ServiceFailed as failure:
        tally.failures.append(str(failure))
    except ReaderFailed as failure:
        tally.reader_failures.append(str(failure))
    return None


async def _paced(asks: Iterable[Ask], *, rate_per_s: float) -> AsyncIterator[Ask]:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for ask in asks:
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield ask
        # Time lost to a slow answer is not made up by a burst.
        due = max(due + 1 / rate_per_s, loop.time() - 1 / rate_per_s)
