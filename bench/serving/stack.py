"""One real service over real databases, with a real version, and a way to publish another."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, create_engine

from bench.stack import Served, databases, serve
from contract.artifact import Manifest
from contract.pointer import Live
from contract.store import Store
from tests import models


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where everything is."""

    url: str
    """Of the service; it asks for no key."""
    pid: int
    log: Path
    environ: Mapping[str, str]
    """What its processes are told."""
    folder: Path
    engine: Engine
    stack: ExitStack

    def precision(self) -> str:
        """In which it serves."""
        return str(self._serving()["precision"])

    def epoch(self) -> int:
        """Which promotion it serves."""
        return int(self._serving()["epoch"])

    def _serving(self) -> Mapping[str, Any]:
        (line,) = httpx.get(f"{self.url}/info", trust_env=False).json()["serving"]
        return dict(line)

    def store(self, version: Path) -> Manifest:
        """What must lie in the store before it is made live."""
        Store(self.environ["RANKLOOP_ARTIFACTS_URL"]).put(version)
        return models.manifest(version)

    def publish(self, version: Path) -> Live:
        """Stores the version and makes it live."""
        return self.promote(self.store(version))

    def promote(self, manifest: Manifest) -> Live:
        """Makes a stored version live: in Postgres first, then announced in Redis, as the trainer does."""
        live = models.promote(self.engine, manifest.version, manifest=manifest)
        models.announce(
            self.environ["RANKLOOP_REDIS_URL"],
            live,
            secret=self.environ["RANKLOOP_SECRET"].encode(),
        )
        return live

    def replica(self, settings: Mapping[str, str]) -> Served:
        """One more service over the same databases; it ends with this stack."""
        return serve(self.folder, self.stack, {**self.environ, **settings})


@contextmanager
def running(
    version: Path,
    *,
    precision: str = "auto",
    threads: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """A service that answers with this version; what is not said here is as in every deployment.

    So it explores, stores its decisions, and its databases wait for the disk.
    settings: as environment variables, RANKLOOP_ and all.
    """
    # Not a long path: sockets are in it.
    with tempfile.TemporaryDirectory(prefix="rl") as name, ExitStack() as stack:
        environ = {
            **databases(Path(name), stack, durable=True),
            "RANKLOOP_SERVICE_PRECISION": precision,
            "RANKLOOP_SERVICE_THREADS": str(threads),
            **(settings or {}),
        }
        engine = create_engine(environ["RANKLOOP_DATABASE_URL"])
        stack.callback(engine.dispose)
        models.publish(engine, Store(environ["RANKLOOP_ARTIFACTS_URL"]), version)
        served = serve(Path(name), stack, environ)
        yield Stack(
            url=served.url,
            pid=served.pid,
            log=served.log,
            environ=environ,
            folder=Path(name),
            engine=engine,
            stack=stack,
        )
