"""`rankloop keys` over a real database."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, Row, create_engine, select, text
from typer.testing import CliRunner, Result

from contract.model_tables import api_keys
from service import keys
from service.key_commands import app
from tests.keyholders import PEPPER
from tests.serving import SECRET

TREE = Path(__file__).parents[2]


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {"RANKLOOP_DATABASE_URL": database_url, "RANKLOOP_SECRET": SECRET}


def run(environment: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


def create(environment: dict[str, str], *arguments: str) -> str:
    """The id of a new key."""
    created = run(environment, "create", "--scope", "rerank", *arguments)
    assert created.exit_code == 0, created.output
    return created.stdout.split("_")[1]


def stored(engine: Engine, key_id: str) -> Row[Any]:
    with engine.connect() as connection:
        return connection.execute(select(api_keys).where(api_keys.c.key_id == key_id)).one()


def test_a_key_is_printed_alone_and_stored_as_a_digest(environment: dict[str, str], engine: Engine):
    created = run(
        environment,
        *("create", "--scope", "rerank", "--scope", "feedback", "--tenant", "acme"),
        *("--name", "the shop", "--expires-in", "90d"),
    )

    key = keys.parse(created.stdout.rstrip("\n"))
    assert key is not None
    row = stored(engine, key.key_id)
    assert row.secret_hmac == key.digest(PEPPER)
    assert (row.tenant, row.scopes, row.name) == ("acme", ["feedback", "rerank"], "the shop")
    assert row.expires_at - row.created_at == timedelta(days=90)
    assert "shown this once" in created.stderr


def test_a_key_is_of_the_default_tenant_and_lasts_unless_it_is_said(
    environment: dict[str, str], engine: Engine
):
    row = stored(engine, create(environment))

    assert (row.tenant, row.name, row.expires_at) == ("default", None, None)


def test_the_list_tells_all_of_a_key_but_the_key(environment: dict[str, str]):
    created = run(environment, "create", "--scope", "judge", "--tenant", "acme", "--name", "bot")
    revoked, expiring = create(environment), create(environment, "--expires-in", "1h")
    expired = create(environment, "--expires-in", "0")
    run(environment, "revoke", revoked)

    listed = run(environment | {"COLUMNS": "200"}, "list")

    key = keys.parse(created.stdout.rstrip("\n"))
    assert key is not None
    assert key.secret not in listed.output
    lines = {words[0]: line for line in listed.output.splitlines() if (words := _words(line))}
    assert re.search(r"acme .* judge .* bot .* works\b", lines[key.key_id])
    assert "revoked 2" in lines[revoked]
    assert "works until 2" in lines[expiring]
    assert "expired 2" in lines[expired]


def _words(line: str) -> list[str]:
    return [word for word in line.split() if word.isalnum()]


def test_a_rotation_prints_a_successor_and_gives_the_old_key_its_grace(
    environment: dict[str, str], engine: Engine
):
    old = create(environment)

    rotated = run(environment, "rotate", old, "--grace", "30m")

    new = keys.parse(rotated.stdout.rstrip("\n"))
    assert new is not None
    successor = stored(engine, new.key_id)
    assert successor.rotated_from == old
    assert successor.created_at + timedelta(minutes=30) == stored(engine, old).expires_at


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "--scope", "everything"),
        ("create", "--scope", "rerank", "--expires-in", "soon"),
        ("create", "--scope", "rerank", "--expires-in", "-1d"),
        ("create", "--scope", "rerank", "--tenant", "two words"),
        ("create", "--scope", "rerank", "--tenant", ""),
        ("rotate", "000000000000", "--grace", "1 day"),
    ],
)
def test_what_cannot_be_meant_is_refused(environment: dict[str, str], arguments: tuple[str, ...]):
    assert run(environment, *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_key_that_does_not_exist_is_a_message(environment: dict[str, str], command: str):
    refused = run(environment, command, "000000000000")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "no key 000000000000 works" in refused.stderr


def test_a_missing_setting_is_named(environment: dict[str, str]):
    refused = run(environment | {"RANKLOOP_SECRET": "short"}, "list")

    assert refused.exit_code == 1
    assert "RANKLOOP_SECRET" in refused.stderr
    assert "short" not in refused.output


def test_a_database_that_is_away_is_a_message_without_its_password(environment: dict[str, str]):
    nowhere = "postgresql+psycopg://somebody:hidden@127.0.0.1:1/nothing"

    refused = run(environment | {"RANKLOOP_DATABASE_URL": nowhere}, "list")

    assert refused.exit_code == 1
    assert "does not answer at postgresql+psycopg://somebody:***@127.0.0.1:1" in refused.stderr
    assert "hidden" not in refused.output


def test_a_database_of_before_the_keys_says_how_to_go_on(
    environment: dict[str, str], database_url: str
):
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE api_keys DROP COLUMN rotated_from"))

    refused = run(environment, "list")

    assert refused.exit_code == 1
    assert "python -m migrations" in refused.stderr


def test_the_command_line_hands_over_to_it_from_any_folder(
    environment: dict[str, str], tmp_path: Path, engine: Engine
):
    command = [sys.executable, "-m", "rankloop", "keys", "create", "--scope", "operate"]
    paths = {"PYTHONPATH": str(TREE)}

    created = subprocess.run(
        command,
        env=os.environ | environment | paths,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    key = keys.parse(created.stdout.rstrip("\n"))
    assert key is not None
    assert stored(engine, key.key_id).scopes == ["operate"]
