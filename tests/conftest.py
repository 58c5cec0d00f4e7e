"""Real servers for the tests: started once, a fresh migrated database and an empty Valkey for each test."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import migrations
from rankloop import embedded

TEMPLATE = "migrated"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def servers() -> Iterator[Path]:
    # Not pytest's own folder: a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="rl") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(servers: Path) -> Iterator[URL]:
    """The server, with a migrated template that nobody connects to any more."""
    with embedded.postgres(servers / "postgres", durable=False) as server:
        url = make_url(server.url)
        _run(url, f"CREATE DATABASE {TEMPLATE}")
        migrations.upgrade(_rendered(url.set(database=TEMPLATE)))
        yield url


@pytest.fixture
def database_url(postgres_server: URL) -> Iterator[str]:
    """A migrated, empty database of its own."""
    name = f"test_{next(NUMBERS)}"
    _run(postgres_server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield _rendered(postgres_server.set(database=name))
    _run(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(postgres_server: URL) -> Iterator[Engine]:
    """A migrated database in which nobody commits."""
    _run(postgres_server, f"CREATE DATABASE shared TEMPLATE {TEMPLATE}")
    engine = create_engine(postgres_server.set(database="shared"))
    yield engine
    engine.dispose()


@pytest.fixture
def connection(shared_engine: Engine) -> Iterator[Connection]:
    """A transaction that is rolled back: quicker than a database of its own."""
    with shared_engine.connect() as connection:
        yield connection


@pytest.fixture
async def async_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def valkey_server(servers: Path) -> Iterator[str]:
    with embedded.valkey(servers / "valkey", durable=False) as server:
        yield server.url


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """An empty Valkey."""
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server


def _run(server: URL, statement: str) -> None:
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))


def _rendered(url: URL) -> str:
    return url.render_as_string(hide_password=False)
