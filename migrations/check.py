"""`python -m migrations.check`: fails when the migrations do not build what contract.tables says.

Alembic compares columns, types, defaults, keys and indexes. It does not see CHECK constraints: those are compared
as PostgreSQL prints them, between a migrated database and one made from the tables.
"""

import sys
import tempfile
from pathlib import Path
from typing import TypeAlias

from alembic import command
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, make_url, text

from contract.tables import metadata
from migrations import config, upgrade
from rankloop import embedded

Constraints: TypeAlias = set[tuple[str, str, str]]


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="rl") as folder,
        embedded.postgres(Path(folder), durable=False) as server,
    ):
        complaints = drift(server.url)
    sys.stderr.writelines(f"{complaint}\n" for complaint in complaints)
    return 1 if complaints else 0


def drift(url: str) -> list[str]:
    """What differs, in an empty database and a scratch one beside it."""
    upgrade(url)
    try:
        command.check(config(url))
    except CommandError as difference:
        return [str(difference)]
    migrated, declared = _migrated(url), _declared(url)
    return [
        *(f"only in the migrations: {found}" for found in sorted(migrated - declared)),
        *(f"only in contract.tables: {found}" for found in sorted(declared - migrated)),
    ]


def _migrated(url: str) -> Constraints:
    engine = create_engine(url)
    try:
        return _constraints(engine)
    finally:
        engine.dispose()


def _declared(url: str) -> Constraints:
    scratch = make_url(url).set(database="declared")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    engine = create_engine(scratch)
    try:
        with server.connect() as connection:
            connection.execute(text("CREATE DATABASE declared TEMPLATE template0"))
        metadata.create_all(engine)
        return _constraints(engine)
    finally:
        engine.dispose()
        with server.connect() as connection:
            connection.execute(text("DROP DATABASE IF EXISTS declared"))
        server.dispose()


def _constraints(engine: Engine) -> Constraints:
    statement = text(
        """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(con.oid)
        FROM pg_constraint con JOIN pg_class rel ON rel.oid = conrelid
        WHERE connamespace = 'public'::regnamespace AND NOT relispartition
          AND conrelid::regclass::text <> 'alembic_version'
        """
    )
    with engine.connect() as connection:
        return {(table, name, rule) for table, name, rule in connection.execute(statement)}


if __name__ == "__main__":
    sys.exit(main())
