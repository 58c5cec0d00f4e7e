"""Real processes on sockets, over a real PostgreSQL and a real Valkey: what every bench of the service starts."""

import os
import secrets
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

import migrations
from rankloop import embedded
from rankloop.home import last_lines
from rankloop.processes import Program
from rankloop.up import CHECKOUT, HOST, free_port

READY_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A service that is ready."""

    url: str
    pid: int
    log: Path


def databases(folder: Path, stack: ExitStack, *, durable: bool = False) -> dict[str, str]:
    """Empty ones with their tables, as settings of every process that uses them.

    durable: whether they wait for the disk, as they would where answers matter.
    """
    database = stack.enter_context(embedded.postgres(folder / "postgres", durable=durable))
    redis = stack.enter_context(embedded.valkey(folder / "valkey", durable=durable))
    migrations.upgrade(database.url)
    own = {
        "RANKLOOP_DATABASE_URL": database.url,
        "RANKLOOP_REDIS_URL": redis.url,
        "RANKLOOP_ARTIFACTS_URL": str(folder / "artifacts"),
        "RANKLOOP_SECRET": secrets.token_urlsafe(32),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    return others | own | {"PYTHONPATH": str(CHECKOUT)}


def serve(folder: Path, stack: ExitStack, environ: Mapping[str, str]) -> Served:
    """A service of its own, once it is ready."""
    port = free_port()
    program = Program(
        arguments=(sys.executable, "-m", "service"),
        environ={
            "RANKLOOP_SERVICE_HOST": HOST,
            **environ,
            "RANKLOOP_SERVICE_PORT": str(port),
            "RANKLOOP_CACHE_DIR": str(folder / f"cache-{port}"),
        },
        log=folder / f"service-{port}.log",
    )
    service = program.start()
    stack.callback(service.stop)
    url = f"http://{HOST}:{port}"
    deadline = time.monotonic() + READY_S
    while not is_ready(url):
        if service.exit_code() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the service did not start:\n{last_lines(program.log)}")
        time.sleep(0.05)
    return Served(url=url, pid=service.pid, log=program.log)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False
