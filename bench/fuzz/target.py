"""The service under fire: a process of its own on a socket, with real servers and a tiny model that changes."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
from sqlalchemy import Engine, create_engine

import migrations
from contract.store import Store
from rankloop import embedded, leash
from service import key_table
from service.key_table import Purpose
from service.keys import Scope
from tests import models

TREE: Final = Path(__file__).parents[2]
START_S: Final = 60.0
STOP_S: Final = 40.0
MAX_LENGTH: Final = 1 << 16
"""Of the model, in tokens: no query that is generated is too long for it, which no schema could say."""


REPEATED_DOCUMENTS: Final = 200
"""Of answers that are remembered: so few that the warm-up fills the place they have, and memory that grows later
leaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running service."""

    url: str
    key: str
    """Opens every path."""
    process: subprocess.Popen[bytes]
    log: Path
    """What it writes to its standard error."""

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def document(self) -> Any:  # noqa: ANN401 -- JSON
        """Its OpenAPI document."""
        with closing(HTTPConnection(*self.address, timeout=START_S)) as connection:
            connection.request("GET", "/openapi.json")
            return json.loads(connection.getresponse().read())

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def errors(self) -> list[str]:
        """What it logged as an error, and what it lost without a word."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or line.startswith("Traceback")]


@contextmanager
def running() -> Iterator[Target]:
    """Two versions were published, so that operators can go back; a key is needed."""
    # Not below TMPDIR's depths: a socket's path has to be short.
    with (
        tempfile.TemporaryDirectory(prefix="rl") as name,
        embedded.postgres(Path(name) / "postgres", durable=False) as postgres,
        embedded.valkey(Path(name) / "valkey", durable=False) as valkey,
    ):
        folder, secret = Path(name), secrets.token_hex()
        migrations.upgrade(postgres.url)
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        environment = {
            "RANKLOOP_DATABASE_URL": postgres.url,
            "RANKLOOP_REDIS_URL": valkey.url,
            "RANKLOOP_ARTIFACTS_URL": str(folder / "artifacts"),
            "RANKLOOP_CACHE_DIR": str(folder / "cache"),
            "RANKLOOP_SECRET": secret,
            "RANKLOOP_SERVICE_PORT": str(port),
            "RANKLOOP_SERVICE_THREADS": "1",
            "RANKLOOP_SERVICE_REPEATED_DOCUMENTS": str(REPEATED_DOCUMENTS),
            "RANKLOOP_SERVICE_REQUIRE_KEYS": "true",
        }
        engine = create_engine(postgres.url)
        _publish(engine, folder)
        key = _key(engine, pepper=secret.encode())
        engine.dispose()
        with _process(environment, folder / "service.log") as process:
            target = Target(
                url=f"http://127.0.0.1:{port}", key=key, process=process, log=folder / "service.log"
            )
            _wait(target)
            yield target


def _publish(engine: Engine, folder: Path) -> None:
    for seed in (0, 1):
        models.make(folder / f"version{seed}", seed=seed, max_length=MAX_LENGTH)
        models.publish(engine, Store(str(folder / "artifacts")), folder / f"version{seed}")


def _key(engine: Engine, *, pepper: bytes) -> str:
    with engine.begin() as connection:
        purpose = Purpose(tenant="fuzz", scopes=[scope.value for scope in Scope])
        return key_table.create(connection, purpose, pepper=pepper).text


def _inherited() -> dict[str, str]:
    """Settings of whoever runs us are not the target's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    return own | {"PYTHONPATH": str(TREE)}


@contextmanager
def _process(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        # On a leash: it ends with us, however we do.
        process = leash.start(
            [sys.executable, "-m", "service"], output=output, env=_inherited() | environment
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(target: Target) -> None:
    """Until it is ready.  Raises `TimeoutError`."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with closing(HTTPConnection(*target.address, timeout=5)) as connection:
            try:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:  # noqa: PLR2004
                    return
            except OSError:
                pass
        time.sleep(0.1)
    raise TimeoutError(f"the service is not ready; see {target.log}")
