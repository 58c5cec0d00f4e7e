import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

import migrations
from migrations.check import drift


def test_a_second_upgrade_changes_nothing(database_url: str, engine: Engine) -> None:
    migrations.upgrade(database_url)

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1


def test_the_migrations_build_what_the_tables_say(database_url: str) -> None:
    assert drift(database_url) == []


def test_a_missing_column_is_drift(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE evaluations DROP COLUMN clusters"))

    assert "clusters" in "\n".join(drift(database_url))


def test_a_rule_that_only_the_database_knows_is_drift(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE texts ADD CONSTRAINT short CHECK (n_chars < 9)"))

    assert drift(database_url) == [
        "only in the migrations: ('texts', 'short', 'CHECK ((n_chars < 9))')"
    ]


def test_an_upgrade_does_not_wait_long_for_a_lock(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('rankloop.migrations', 0))")
        )

        with pytest.raises(OperationalError, match="lock timeout"):
            migrations.upgrade(database_url, attempts=1)

    migrations.upgrade(database_url, attempts=1)
