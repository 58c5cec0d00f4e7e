"""Makes a version live: bytes first, then Postgres, which decides, then Redis, which carries the word.

Each step may be repeated: a version is named by its content, a run is promoted once, and Redis takes the same word
twice. A version that another trainer or an operator overtook is refused by name.
"""

import logging
from pathlib import Path
from uuid import UUID

import redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, Update, select, update
from sqlalchemy.exc import DBAPIError

from contract import publication
from contract.artifact import MANIFEST, Manifest
from contract.pointer import PUBLISH, Keys, Live
from contract.publication import Action
from contract.store import Store
from contract.tables import model_versions, promotions

logger = logging.getLogger(__name__)

ACTOR = "trainer"


def store_version(
    store: Store, engine: Engine, folder: Path, *, line: str, run_id: UUID | None = None
) -> str:
    """Uploads a complete version and makes it known.  Returns its name."""
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    version = store.put(folder)
    with engine.begin() as connection:
        connection.execute(
            publication.register_version(
                version,
                line=line,
                base=manifest.base,
                uri=f"{store.url.rstrip('/')}/{version}",
                manifest=manifest.model_dump(mode="json"),
                parent=manifest.parent,
                run_id=run_id,
            )
        )
    return version


def promote(
    engine: Engine,
    then: Live,
    *,
    token: int,
    reason: str,
    action: Action = Action.PROMOTE,
    run_id: UUID | None = None,
    evaluation_id: UUID | None = None,
) -> Live:
    """Makes this the next epoch.  Returns it, or that of this run if it has had one.

    Raises `LeaseMissing`, `TokenStale` or `EpochMoved`.
    """
    statement = publication.promote(
        then,
        token=token,
        actor=ACTOR,
        reason=reason,
        action=action,
        run_id=run_id,
        evaluation_id=evaluation_id,
    )
    try:
        with engine.begin() as connection:
            done = None if run_id is None else published_by(connection, run_id)
            if done is not None:
                return done
            connection.execute(statement)
            connection.execute(_retire(then.line, then.version))
            connection.execute(publication.mark_version(then.version, status="champion"))
    except DBAPIError as error:
        refusal = publication.refusal_in(error)
        if refusal is None:
            raise
        raise refusal from error
    logger.info(
        "version.promoted line=%s epoch=%d version=%s canary=%s share=%g",
        *(then.line, then.epoch, then.version, then.canary_version, then.canary_share),
    )
    return then


def _retire(line: str, version: str) -> Update:
    """What was live, for those who look at the list of versions; `promotions` alone says what is."""
    return (
        update(model_versions)
        .where(
            model_versions.c.line == line,
            model_versions.c.status == "champion",
            model_versions.c.version != version,
        )
        .values(status="retired")
    )


def published_by(connection: Connection, run_id: UUID) -> Live | None:
    """What this run made live: a champion, or a canary beside one."""
    statement = select(promotions).where(
        promotions.c.run_id == run_id,
        promotions.c.action.in_([Action.PROMOTE, Action.CANARY]),
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else publication.pointer(row)


def announce(client: "redis.Redis", live: Live, *, secret: bytes) -> bool:
    """Tells Redis, which keeps the highest epoch; says False while Redis is away, and may be repeated."""
    keys = Keys.of(live.line)
    try:
        said = client.eval(
            PUBLISH,
            3,
            keys.state,
            keys.events,
            keys.wake,
            str(live.epoch),
            live.signed(secret=secret),
        )
    except RedisError as unreachable:
        logger.warning("pointer.not_announced line=%s reason=%s", live.line, unreachable)
        return False
    if said in {b"PUBLISHED", "PUBLISHED"}:
        logger.info("pointer.announced line=%s epoch=%d", live.line, live.epoch)
    return True
