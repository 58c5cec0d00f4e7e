"""The whole loop on one machine: PostgreSQL, Valkey, service, trainer and judge as children of one command."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import httpx

from rankloop import embedded
from rankloop.home import Home, last_lines
from rankloop.processes import Kept, Program, Running, RunningServer, Say

CHECKOUT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
TEND_S: Final = 0.1
READY_S: Final = 180.0
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotStart(Exception):
    """The loop does not run here as asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """Where the state is, and those of its servers that are ours to keep running."""

    database_url: str
    redis_url: str
    kept: Sequence[Kept[Running]]


def up(home: Home, *, port: int, base: str, say: Say) -> None:
    """Runs the loop until it is told to stop, which is a KeyboardInterrupt. Raises `CannotStart`."""
    refuse_without_checkout()
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    with home.held(), ExitStack() as stack:
        refuse_busy(port)
        databases = _databases(home, stack, say=say)
        environ = environment(home, databases, port=port)
        say("preparing the database")
        _finish("migrations", home=home, environ=environ)
        say(f"registering the starting model, {base}, unless there is a model already")
        _finish("trainer.register", "--base", base, home=home, environ=environ)
        programs = _programs(home, environ, stack, say=say)
        _wait_until_ready(programs, home=home, port=port)
        _introduce(home, environ, say=say)
        _tend([*databases.kept, *programs])


def refuse_without_checkout() -> None:
    if not (CHECKOUT / "service" / "__main__.py").exists():
        raise CannotStart(
            "service, trainer and judge run from a checkout of Rankloop or from its images;"
            " what is installed here is the command line alone"
        )


def refuse_busy(port: int) -> None:
    with socket.socket() as probe:
        # As the service will ask: connections that linger from its last run do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as busy:
            raise CannotStart(
                f"port {port} cannot be had ({busy.strerror}): choose another with --port"
            ) from busy


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(home: Home, databases: Databases, *, port: int) -> dict[str, str]:
    """What the children see: our own environment, completed where it is silent."""
    defaults = {
        "RANKLOOP_ARTIFACTS_URL": str(home.artifacts),
        "RANKLOOP_CACHE_DIR": str(home.cache),
        "RANKLOOP_SECRET": home.secret(),
        "RANKLOOP_JUDGE_SERVICE_URL": f"http://{HOST}:{port}",
        "RANKLOOP_JUDGE_STATE": str(home.judge_state),
        "RANKLOOP_TRAINER_METRICS_PORT": str(free_port()),
        "RANKLOOP_JUDGE_METRICS_PORT": str(free_port()),
    }
    settled = {
        "RANKLOOP_DATABASE_URL": databases.database_url,
        "RANKLOOP_REDIS_URL": databases.redis_url,
        "RANKLOOP_SERVICE_HOST": HOST,
        "RANKLOOP_SERVICE_PORT": str(port),
        # Our packages are found wherever the command was typed, and nothing that lies there hides them.
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**defaults, **os.environ, **settled}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: stopping is on its way and takes at most so long."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _databases(home: Home, stack: ExitStack, *, say: Say) -> Databases:
    kept: list[Kept[Running]] = []

    def url(variable: str, name: str, start: Callable[[], RunningServer]) -> str:
        if variable in os.environ:
            return os.environ[variable]
        server = Kept(name, start, say=say)
        stack.callback(server.stop)
        kept.append(server)
        say(f"starting {name}")
        # The address is a function of the folder: a server that is started again has the same.
        return server.start().url

    return Databases(
        database_url=url(
            "RANKLOOP_DATABASE_URL",
            "PostgreSQL",
            lambda: RunningServer(embedded.postgres(home.path / "postgres")),
        ),
        redis_url=url(
            "RANKLOOP_REDIS_URL",
            "Valkey",
            lambda: RunningServer(embedded.valkey(home.path / "valkey")),
        ),
        kept=kept,
    )


def _finish(module: str, *arguments: str, home: Home, environ: Mapping[str, str]) -> None:
    """Runs a module to its end. Raises `CannotStart` with what it said last."""
    log = home.log(module)
    if _python(module, *arguments, log=log, environ=environ).start().wait() != 0:
        raise CannotStart(f"{module} failed:\n{last_lines(log)}")


def _programs(
    home: Home, environ: Mapping[str, str], stack: ExitStack, *, say: Say
) -> Sequence[Kept[Running]]:
    """Started in this order and stopped in the opposite one: the service drains first."""
    programs = []
    for module in ("judge", "trainer", "service"):
        program = _python(module, log=home.log(module), environ=environ)
        kept = Kept(f"the {module}", program.start, say=say)
        stack.callback(kept.stop)
        kept.start()
        programs.append(kept)
    return programs


def _python(module: str, *arguments: str, log: Path, environ: Mapping[str, str]) -> Program:
    return Program(arguments=(sys.executable, "-m", module, *arguments), log=log, environ=environ)


def _wait_until_ready(programs: Sequence[Kept[Running]], *, home: Home, port: int) -> None:
    deadline = time.monotonic() + READY_S
    while not _is_ready(port):
        for program in programs:
            program.tend()
            if program.failures:
                module = program.name.removeprefix("the ")
                raise CannotStart(f"{program.name} did not start:\n{last_lines(home.log(module))}")
        if time.monotonic() > deadline:
            raise CannotStart(
                f"the service is not ready after {READY_S:.0f} s:\n{last_lines(home.log('service'))}"
            )
        time.sleep(TEND_S)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _introduce(home: Home, environ: Mapping[str, str], *, say: Say) -> None:
    service = f"http://{HOST}:{environ['RANKLOOP_SERVICE_PORT']}"
    trainer = f"http://{HOST}:{environ['RANKLOOP_TRAINER_METRICS_PORT']}"
    judge = f"http://{HOST}:{environ['RANKLOOP_JUDGE_METRICS_PORT']}"
    say(f"ready     {service}/v1/rerank")
    say(f"API       {service}/docs")
    say(f"metrics   {service}/metrics  {trainer}/metrics  {judge}/metrics")
    say(f"logs      {home.log('service').parent}")
    say("Ctrl-C stops everything; the same --home goes on where this ended")


def _tend(everything: Sequence[Kept[Running]]) -> None:
    while True:
        for kept in everything:
            kept.tend()
        time.sleep(TEND_S)
