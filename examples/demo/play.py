"""One run: the loop starts, is measured, is used, learns while it is used, and is measured again."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final, TypeAlias

from examples.demo import ceiling, quality, traffic
from examples.demo.application import Answered, Application
from examples.demo.report import SMOOTHED, Played, Point
from examples.demo.show import Bar, Show
from examples.demo.traffic import Noise, Tally
from examples.demo.watch import Verdicts, look, until_served, watch

CURVE_QUESTIONS: Final = 100
"""Held-out questions asked after each promotion, while traffic goes on; all of them are asked before and after."""
LAST_ROUND_S: Final = 300.0
BAR_S: Final = 0.5
CALM_S: Final = 3.0
"""After so long without a round none is on its way: the trainer looks for work every second."""

Calibrate: TypeAlias = Callable[[Sequence[Answered]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run is to do."""

    seed: int
    base: str
    decisions: int
    rate_per_s: float
    noise: Noise
    reward_wait_s: float
    """How long the trainer waits for rewards: the last round begins no sooner after the last one."""
    folder: Path
    """For the ceiling's training."""
    calibrate: Calibrate | None = None
    """Where a judge gives the rewards: what becomes of it on the answers after learning."""


@dataclass(slots=True)
class Clock:
    """How long each phase took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


async def play(application: Application, plan: Plan, *, show: Show) -> Played:
    world, clock, tally, verdicts = application.world, Clock(), Tally(), Verdicts()
    with clock.phase("measuring the start"):
        start = await traffic.held_out(application, world.held_out, tally=tally)
    show.say(
        f"the starting model answers {quality.mean(start):.1%} of {len(start)} held-out questions"
    )
    curve = [Point(decisions=0, version=start[0].version, quality=quality.mean(start))]
    with clock.phase("learning"):
        await _learn(application, plan, curve, tally=tally, verdicts=verdicts, show=show)
    await until_served(application.service, verdicts)
    with clock.phase("measuring the end"):
        final = await traffic.held_out(application, world.held_out, tally=tally)
    curve.append(
        Point(decisions=len(tally.answered), version=final[0].version, quality=quality.mean(final))
    )
    show.say(f"the final model answers {quality.mean(final):.1%}")
    judge = None if plan.calibrate is None else await asyncio.to_thread(plan.calibrate, final)
    with clock.phase("training on gold labels"):
        best = await _ceiling(application, plan, show=show)
    return Played(
        seed=plan.seed,
        decisions=len(tally.answered),
        promoted=len(verdicts.promoted),
        refused=len(verdicts.refused),
        failed_requests=len(tally.failures),
        reader_failures=len(tally.reader_failures),
        comparison=quality.compare(start, final, seed=plan.seed),
        groups=_by_group(start, final, seed=plan.seed),
        ceiling=quality.mean(best),
        curve=curve,
        traffic=[each.quality for each in tally.answered],
        seconds=clock.seconds,
        verdicts=verdicts.lines,
        judge=judge,
    )


async def _learn(
    application: Application,
    plan: Plan,
    curve: list[Point],
    *,
    tally: Tally,
    verdicts: Verdicts,
    show: Show,
) -> None:
    """Traffic, the watching of it, and the end of the round that it left running."""
    some = application.world.held_out[:: max(1, len(application.world.held_out) // CURVE_QUESTIONS)]

    async def measure(version: str) -> None:
        await until_served(application.service, verdicts)
        answered = await traffic.held_out(application, some, tally=tally)
        point = Point(
            decisions=len(tally.answered), version=version, quality=quality.mean(answered)
        )
        curve.append(point)
        show.say(
            f"{version[:12]} answers {point.quality:.1%} of {len(answered)} held-out questions"
        )

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(
            watch(application.service, verdicts, say=show.say, on_promotion=measure)
        )
        with show.bar(f"seed {plan.seed}", total=plan.decisions) as bar:
            drawing = tasks.create_task(_draw(bar, tally, verdicts))
            await traffic.flow(
                application,
                application.world.traffic(plan.decisions, seed=plan.seed),
                rate_per_s=plan.rate_per_s,
                noise=plan.noise,
                seed=plan.seed,
                tally=tally,
            )
            drawing.cancel()
            bar.update(len(tally.answered), _note(tally, verdicts))
        await _last_round(verdicts, wait_s=plan.reward_wait_s)
        watching.cancel()
    await look(application.service, verdicts, say=show.say)


async def _last_round(verdicts: Verdicts, *, wait_s: float) -> None:
    """Waits for what the last rewards set off, if they did."""
    await asyncio.sleep(wait_s)
    calm_s = 0.0
    for _ in range(int(LAST_ROUND_S / BAR_S)):
        if calm_s >= CALM_S:
            return
        await asyncio.sleep(BAR_S)
        calm_s = 0.0 if verdicts.is_training else calm_s + BAR_S


async def _ceiling(application: Application, plan: Plan, *, show: Show) -> list[Answered]:
    show.say("training the starting model on gold labels of the same questions, as a ceiling")
    world = application.world
    orders = await asyncio.to_thread(
        ceiling.train,
        world.train,
        world.held_out,
        base=plan.base,
        events=plan.decisions,
        seed=plan.seed,
        folder=plan.folder,
    )
    best = await ceiling.answers(application, world.held_out, orders)
    show.say(f"trained on gold labels it answers {quality.mean(best):.1%}")
    return best


def _by_group(
    start: Sequence[Answered], final: Sequence[Answered], *, seed: int
) -> Mapping[str, quality.Comparison]:
    before, after = quality.by_group(start), quality.by_group(final)
    return {
        name: quality.compare(before[name], after[name], seed=seed)
        for name in before
        if name in after
    }


async def _draw(bar: Bar, tally: Tally, verdicts: Verdicts) -> None:
    while True:
        bar.update(len(tally.answered), _note(tally, verdicts))
        await asyncio.sleep(BAR_S)


def _note(tally: Tally, verdicts: Verdicts) -> str:
    recent = tally.rewards[-SMOOTHED:]
    # Where a judge says how good answers are, the app has none to tell.
    reward = f"reward {fmean(recent):.3f} (last {len(recent)})  " if recent else ""
    return (
        f"{reward}promoted {len(verdicts.promoted)}  refused {len(verdicts.refused)}"
        f"  failed {len(tally.failures)}{'  training' if verdicts.is_training else ''}"
    )
