"""`rankloop demo`: watch a reranker learn on this machine from the quality of its readers' answers."""

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from examples.demo import ceiling, loop, reader, report, worlds
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
    except (loop.LoopFailed, ceiling.CeilingFailed, DatasetRefused) as failure:
        show.say(str(failure), style="red")
        return 1
    return 0


def _play_all(options: Options, *, show: Show) -> None:
    _introduce(options, show=show)
    runs: list[Played] = []
    for number, seed in enumerate(options.seeds, start=1):
        world = _world(options, seed=seed)
        with _home(options, seed=seed) as home, _stage(options, world, home, show=show) as urls:
            runs.append(asyncio.run(_played(options, world, urls, home, seed=seed, show=show)))
            _report(options, runs, show=show)
            if number == len(options.seeds) and not options.headless:
                show.say(f"it keeps serving at {urls[0]}/v1/rerank (state in {home}); Ctrl-C ends")
                threading.Event().wait()


def _introduce(options: Options, *, show: Show) -> None:
    noise = Noise()
    show.say("settings that differ from the defaults:")
    for name, value in settings(os.environ).items():
        show.say(f"  {name}={value}")
    show.say(
        f"rewards: {noise.missing:.0%} missing, {noise.flipped:.0%} of the others flipped,"
        f" {noise.delay_s[0]:g} to {noise.delay_s[1]:g} s late"
    )
    show.say(
        "the reader is a simulation: it answers from the first used passage that states an answer"
        if options.reader is None
        else f"the reader is {options.reader_model} at {options.reader}"
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


@contextmanager
def _stage(options: Options, world: World, home: Path, *, show: Show) -> Iterator[tuple[str, str]]:
    """The service and the reader, running; yields their URLs."""
    show.say(f"starting the loop in {home}")
    port = loop.free_port(options.port)
    with (
        loop.running(home, port=port, base=options.base, settings=settings(os.environ)) as service,
        reader.running(world.read) as simulated,
    ):
        show.say(f"serving at {service}, API at {service}/docs, logs in {home / 'logs'}")
        yield service, options.reader or simulated


async def _played(
    options: Options, world: World, urls: tuple[str, str], home: Path, *, seed: int, show: Show
) -> Played:
    application = Application.of(
        service_url=urls[0], reader_url=urls[1], reader_model=options.reader_model, world=world
    )
    plan = Plan(
        seed=seed,
        base=options.base,
        decisions=options.decisions,
        rate_per_s=options.rate_per_s,
        noise=Noise(),
        reward_wait_s=float(settings(os.environ)[REWARD_WAIT]),
        folder=home / "ceiling",
    )
    try:
        return await play(application, plan, show=show)
    finally:
        await application.close()


def _report(options: Options, runs: Sequence[Played], *, show: Show) -> None:
    """After each run, so that a run that fails later takes nothing with it."""
    table, picture = (options.results / f"{options.name}.{ending}" for ending in ("json", "png"))
    report.write(table, runs, command=shlex.join(["rankloop", "demo", *sys.argv[1:]]))
    report.draw(picture, runs, title=f"Rankloop learns: {options.name}")
    report.show(show.console, runs)
    show.say(f"wrote {table} and {picture}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
