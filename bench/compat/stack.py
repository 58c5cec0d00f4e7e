"""Live services for the clients: processes on sockets, over a real PostgreSQL and a real Valkey.

The model is tiny: what is compared is what two ways to ask for the same ranking get.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import create_engine

from bench.compat.client import Ranking, Target
from bench.stack import databases, serve
from contract.store import Store
from service import key_table
from service.key_table import Purpose
from tests import models

MOST_DOCUMENTS: Final = 100
MAX_BODY_BYTES: Final = 16 << 20
"""Room for the one long request that keeps a service busy."""
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
        keyed_url = serve(folder, stack, environ | {"RANKLOOP_SERVICE_REQUIRE_KEYS": "true"}).url
        soon_busy = {
            "RANKLOOP_SERVICE_MAX_QUEUED_TOKENS": "1",
            "RANKLOOP_SERVICE_BATCH_TOKENS": "1",
        }
        open_url = serve(folder, stack, environ | soon_busy).url
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
    environ = databases(folder, stack)
    models.make(folder / "version", max_length=max_length)
    engine = create_engine(environ["RANKLOOP_DATABASE_URL"])
    models.publish(engine, Store(environ["RANKLOOP_ARTIFACTS_URL"]), folder / "version")
    engine.dispose()
    return environ | {
        "RANKLOOP_SERVICE_EPSILON": "0",
        "RANKLOOP_SERVICE_MAX_DOCUMENTS": str(MOST_DOCUMENTS),
        "RANKLOOP_SERVICE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "RANKLOOP_SERVICE_THREADS": "1",
        "RANKLOOP_SERVICE_POLL_S": "0.2",
    }


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
