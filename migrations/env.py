"""Alembic's entry: one transaction, one migration at a time, and no eye for the daily partitions."""

import os
import re

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from contract.columns import Xid8
from contract.tables import PARTITIONED, metadata

PARTITION = re.compile(rf"({'|'.join(PARTITIONED)})_\d{{8}}")


def run() -> None:
    url = context.config.attributes.get("url") or os.environ["RANKLOOP_DATABASE_URL"]
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_name=is_ours,
            compare_server_default=True,
        )
        with context.begin_transaction():
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended('rankloop.migrations', 0))")
            )
            context.run_migrations()


def is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or PARTITION.fullmatch(name or "") is None


ischema_names["xid8"] = Xid8
run()
