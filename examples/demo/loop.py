"""`rankloop up` as a child of the demo: started with the demo's settings, stopped with the demo."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from rankloop import leash
from rankloop.home import last_lines

OWN: Final = frozenset(
    f"RANKLOOP_{name}"
    for name in ("DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL", "CACHE_DIR", "LINE")
)
HOST: Final = "127.0.0.1"
START_S: Final = 900.0
STOP_S: Final = 90.0


class LoopFailed(Exception):
    """The loop did not start; the message ends with what it said last."""


@contextmanager
def running(home: Path, *, port: int, base: str, settings: Mapping[str, str]) -> Iterator[str]:
    """Run the loop in `home`, with these settings beside the environment; yields the service's URL.

    Raises `LoopFailed`.
    """
    log = home / "up.log"
    home.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "rankloop",
        "up",
        "--port",
        str(port),
        "--home",
        home,
        "--base",
        base,
    ]
    with log.open("ab") as output:
        process = leash.start(command, output=output, env=_environment(settings))
    try:
        _wait_until_ready(process, port=port, log=log)
        yield f"http://{HOST}:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        with process:
            process.wait(STOP_S)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A demo keeps its flipped rewards to itself, whatever servers the shell knows of."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    return {**kept, **settings}


def free_port(preferred: int) -> int:
    """The preferred port, or another one where that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, preferred))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not _is_ready(port):
        if process.poll() is not None:
            raise LoopFailed(f"rankloop up ended:\n{last_lines(log)}")
        if time.monotonic() > deadline:
            raise LoopFailed(f"rankloop up is not ready after {START_S:.0f} s:\n{last_lines(log)}")
        time.sleep(0.2)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
