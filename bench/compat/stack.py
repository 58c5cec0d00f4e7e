"""Live services for the clients: processes on sockets, over a real PostgreSQL and a real Valkey.

The model is tiny: what is compared is what two ways to ask for the same ranking get.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import create_engine

import migrations
from bench.compat.client import Ranking, Target
from contract.store import Store
from rankloop import embedded
from rankloop.home import last_lines
from rankloop.processes import Program
from rankloop.up import CHECKOUT, HOST, free_port
from service import key_table
from service.key_table import Purpose
from tests import models

MOST_DOCUMENTS: Final = 100
MAX_BODY_BYTES: Final = 16 << 20
"""Room for the one long request that keeps a service busy."""
READY_S: Final = 180.0
QUERY: Final = "Who wrote the handbook of the lighthouse?"
DOCUMENTS: Final = (
    "The handbook of the lighthouse was written by its second keeper, Ada Holm.",
    "Visitors may climb the tower on Sundays between ten and four.",
    "A lighthouse is a tower with a lamp and a lens; ships see it from afar.",
    "The first keeper left in 1871. Nobody knows where he went.",
    "Ada Holm drew every lens by hand. " * 12,
    "Öl für die Lampe kam zweimal im Jahr mit dem Schiff, at a price of 3 £ a barrel.",
    "handbook",
    "The rules say who cleans the lamp, who winds the clock and who writes the log.",
    "灯塔手册由第二任守塔人撰写。",
    'See chapter 4: {"keeper": "Holm", "year": 1874}',
    "Her sister bound the book and numbered its pages.",
    "It rains a lot here.",
)


@contextmanager
def running() -> Iterator[Target]:
    """Two services over one database, one that asks for a key and one that is soon busy."""
    # Not a long path: sockets are in it.
    with tempfile.TemporaryDirectory(prefix="rl") as name, ExitStack() as stack:
        folder = Path(name)
        environ = environment(folder, stack)
        keyed_url = serve(folder, stack, environ | {"RANKLOOP_SERVICE_REQUIRE_KEYS": "true"})
        soon_busy = {
            "RANKLOOP_SERVICE_MAX_QUEUED_TOKENS": "1",
            "RANKLOOP_SERVICE_BATCH_TOKENS": "1",
        }
        open_url = serve(folder, stack, environ | soon_busy)
        key = _key(environ)
        yield Target(
            url=keyed_url,
            key=key,
            most=MOST_DOCUMENTS,
            open_url=open_url,
            query=QUERY,
            documents=list(DOCUMENTS),
            ranking=_ours(keyed_url, key),
            logits=_ours(keyed_url, key, raw_scores=True),
        )


def environment(
    folder: Path, stack: ExitStack, *, max_length: int = models.MAX_LENGTH
) -> dict[str, str]:
    """A database with a live version, as the services' settings.

    max_length: of query and document together, in the model's tokens, which are characters.
    """
    database_url = stack.enter_context(embedded.postgres(folder / "postgres", durable=False)).url
    redis_url = stack.enter_context(embedded.valkey(folder / "valkey", durable=False)).url
    migrations.upgrade(database_url)
    models.make(folder / "version", max_length=max_length)
    engine = create_engine(database_url)
    models.publish(engine, Store(str(folder / "artifacts")), folder / "version")
    engine.dispose()
    own = {
        "RANKLOOP_DATABASE_URL": database_url,
        "RANKLOOP_REDIS_URL": redis_url,
        "RANKLOOP_ARTIFACTS_URL": str(folder / "artifacts"),
        "RANKLOOP_SECRET": secrets.token_urlsafe(32),
        "RANKLOOP_SERVICE_HOST": HOST,
        "RANKLOOP_SERVICE_EPSILON": "0",
        "RANKLOOP_SERVICE_MAX_DOCUMENTS": str(MOST_DOCUMENTS),
        "RANKLOOP_SERVICE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "RANKLOOP_SERVICE_THREADS": "1",
        "RANKLOOP_SERVICE_POLL_S": "0.2",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    return others | own | {"PYTHONPATH": str(CHECKOUT)}


def serve(folder: Path, stack: ExitStack, environ: Mapping[str, str]) -> str:
    """Its URL, once it is ready."""
    port = free_port()
    program = Program(
        arguments=(sys.executable, "-m", "service"),
        environ={
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
    while not _is_ready(url):
        if service.exit_code() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the service did not start:\n{last_lines(program.log)}")
        time.sleep(0.05)
    return url


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _key(environ: Mapping[str, str]) -> str:
    engine = create_engine(environ["RANKLOOP_DATABASE_URL"])
    pepper = environ["RANKLOOP_SECRET"].encode()
    with engine.begin() as connection:
        key = key_table.create(
            connection, Purpose(tenant="compat", scopes=("rerank",)), pepper=pepper
        )
    engine.dispose()
    return key.text


def _ours(url: str, key: str, **options: bool) -> Ranking:
    """What our own endpoint says."""
    reply = httpx.post(
        f"{url}/v1/rerank",
        json={"query": QUERY, "documents": DOCUMENTS, **options},
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )
    reply.raise_for_status()
    return [(each["index"], each["relevance_score"]) for each in reply.json()["results"]]
