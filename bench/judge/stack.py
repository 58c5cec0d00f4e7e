"""A loop without a trainer: PostgreSQL, Valkey and the service as real processes, and a judge that may be killed."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from sqlalchemy import Engine, create_engine

from bench.compat import stack
from bench.stack import serve
from rankloop import leash

STOP_S: Final = 30.0
MAX_LENGTH: Final = 2048
"""Of query and document, in characters: no query of the set is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where everything is."""

    url: str
    """Of the service; it asks for no key."""
    engine: Engine
    environ: Mapping[str, str]
    """What its processes are told."""


@contextmanager
def running() -> Iterator[Stack]:
    """The model that ranks is tiny: which documents were used, the answers say."""
    # Not a long path: sockets are in it.
    with tempfile.TemporaryDirectory(prefix="rl") as name, ExitStack() as open_:
        environ = stack.environment(Path(name), open_, max_length=MAX_LENGTH)
        url = serve(Path(name), open_, environ).url
        engine = create_engine(environ["RANKLOOP_DATABASE_URL"])
        open_.callback(engine.dispose)
        yield Stack(url=url, engine=engine, environ=environ)


@contextmanager
def judging(environ: Mapping[str, str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m judge`, which is asked to end at last."""
    # On a leash: it ends with us, however we do.
    judge = leash.start([sys.executable, "-m", "judge"], output=output, env=environ)
    try:
        yield judge
    finally:
        if judge.poll() is None:
            judge.terminate()
        judge.wait(STOP_S)


def kill(judge: subprocess.Popen[bytes]) -> None:
    """As the kernel does it where memory is short: nothing is told to anybody."""
    os.killpg(judge.pid, signal.SIGKILL)
    judge.wait()
