"""`rankloop demo`: watch a reranker learn on this machine from the quality of its readers' answers."""

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from examples.demo import ceiling, judge, loop, reader, report, worlds
from examples.demo.application import Application
from examples.demo.options import REWARD_WAIT, Options, settings
from examples.demo.play import Plan, play
from examples.demo.report import Played
from examples.demo.show import Show
from examples.demo.traffic import Noise
from examples.demo.worlds import World
from trainer.datasets import DatasetRefused


def main(arguments: Sequence[str]) -> int:
    options = Options.of(arguments)
    show = Show(Console(highlight=False))
    try:
        _play_all(options, show=show)
    except KeyboardInterrupt:
        show.say("stopped")
    except (
        loop.LoopFailed,
        ceiling.CeilingFailed,
        judge.CalibrationFailed,
        DatasetRefused,
    ) as failure:
        show.say(str(failure), style="red")
        return 1
    return 0


def _play_all(options: Options, *, show: Show) -> None:
    _introduce(options, show=show)
    runs: list[Played] = []
    for number, seed in enumerate(options.seeds, start=1):
        world = _world(options, seed=seed)
        with _home(options, seed=seed) as home, _stage(options, world, home, show=show) as stage:
            runs.append(asyncio.run(_played(options, world, stage, home, seed=seed, show=show)))
            _report(options, runs, show=show)
            if number == len(options.seeds) and not options.headless:
                show.say(
                    f"it keeps serving at {stage.service}/v1/rerank (state in {home}); Ctrl-C ends"
                )
                threading.Event().wait()


def _introduce(options: Options, *, show: Show) -> None:
    show.say("settings that differ from the defaults:")
    for name, value in settings(os.environ, judged=options.judge).items():
        show.say(f"  {name}={value}")
    show.say(_of_rewards(options))
    show.say(
        "the reader is a simulation: it answers from the first used passage that states an answer"
        if options.reader is None
        else f"the reader is {options.reader_model} at {options.reader}"
    )


def _of_rewards(options: Options) -> str:
    if options.judge:
        return f"rewards: verdicts of the judge sidecar, whose LLM is scripted and wrong {judge.WRONG:.0%} of the time"
    noise = Noise()
    return (
        f"rewards: {noise.missing:.0%} missing, {noise.flipped:.0%} of the others flipped,"
        f" {noise.delay_s[0]:g} to {noise.delay_s[1]:g} s late"
    )


def _world(options: Options, *, seed: int) -> World:
    if options.data is None:
        world = worlds.handbook()
    else:
        world = worlds.folder(
            options.data, train=options.decisions, held_out=options.held_out, seed=seed
        )
    return world if options.reader is None else world.with_real_reader()


@contextmanager
def _home(options: Options, *, seed: int) -> Iterator[Path]:
    """Where the run's state goes: kept if it was asked for, on failure, and if somebody may want to look."""
    if options.home is not None:
        many = len(options.seeds) > 1
        yield options.home.resolve() / f"seed-{seed}" if many else options.home.resolve()
        return
    Path(".rankloop").mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix=f"demo-{seed}-", dir=".rankloop")).resolve()
    yield home
    shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Base URLs of what runs."""

    service: str
    reader: str
    judge: str | None
    """Of the scripted judge's LLM."""


@contextmanager
def _stage(options: Options, world: World, home: Path, *, show: Show) -> Iterator[Stage]:
    """The service, the reader and, where one is asked for, the judge's LLM."""
    show.say(f"starting the loop in {home}")
    port = loop.free_port(options.port)
    with ExitStack() as stack:
        simulated = stack.enter_context(reader.running(world.read))
        llm = stack.enter_context(judge.running(world)) if options.judge else None
        told = settings(os.environ, judged=options.judge) | (judge.settings(llm) if llm else {})
        service = stack.enter_context(
            loop.running(home, port=port, base=options.base, settings=told)
        )
        show.say(f"serving at {service}, API at {service}/docs, logs in {home / 'logs'}")
        yield Stage(service=service, reader=options.reader or simulated, judge=llm)


async def _played(
    options: Options, world: World, stage: Stage, home: Path, *, seed: int, show: Show
) -> Played:
    application = Application.of(
        service_url=stage.service,
        reader_url=stage.reader,
        reader_model=options.reader_model,
        world=world,
    )
    plan = Plan(
        seed=seed,
        base=options.base,
        decisions=options.decisions,
        rate_per_s=options.rate_per_s,
        noise=_noise(options),
        reward_wait_s=float(settings(os.environ)[REWARD_WAIT]),
        folder=home / "ceiling",
        calibrate=(
            None
            if stage.judge is None
            else partial(judge.calibrated, url=stage.judge, folder=home / "calibration")
        ),
    )
    try:
        return await play(application, plan, show=show)
    finally:
        await application.close()


def _noise(options: Options) -> Noise:
    """Of users: where a judge speaks, they say nothing."""
    return Noise(missing=1.0) if options.judge else Noise()


def _report(options: Options, runs: Sequence[Played], *, show: Show) -> None:
    """After each run, so that a run that fails later takes nothing with it."""
    table, picture = (options.results / f"{options.name}.{ending}" for ending in ("json", "png"))
    report.write(table, runs, command=shlex.join(["rankloop", "demo", *sys.argv[1:]]))
    report.draw(picture, runs, title=f"Rankloop learns: {options.name}")
    report.show(show.console, runs)
    show.say(f"wrote {table} and {picture}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
