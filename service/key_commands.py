"""`rankloop keys`, beside the database: a first key cannot be had from a service that lets nobody in without one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NoReturn

import typer
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Row, create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from contract.refusals import Refusal
from service import key_table
from service.key_table import Purpose
from service.keys import ApiKey, Scope

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="API keys. What is created is printed once and stored nowhere; revoking takes 5 s at most.",
)

_CONNECT_S: Final = 5
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_HEADINGS: Final = ("id", "tenant", "scopes", "name", "created", "state")

_SAYING: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
"""A key alone goes to stdout, so that a script can catch it."""


class _Settings(BaseSettings):
    """Two of the service's own."""

    model_config = SettingsConfigDict(
        env_prefix="RANKLOOP_", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: str
    secret: SecretStr = Field(min_length=16)


def duration(text: str) -> timedelta:
    """`90d`, `24h`, `30m` or `0`."""
    found = re.fullmatch(r"(\d{1,6})([smhd])|0", text)
    if found is None:
        raise typer.BadParameter("a number and s, m, h or d, such as 90d")
    return timedelta(seconds=int(found[1] or 0) * _SECONDS[found[2] or "s"])


def tenant_name(text: str) -> str:
    """A word: tenants are told apart by it wherever it is written."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text) is None:
        raise typer.BadParameter("up to 64 letters, digits, dots, dashes and underscores")
    return text


KeyId = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it: not the key.")]


@app.command()
def create(
    *,
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be repeated.")],
    tenant: Annotated[str, typer.Option(help="Whose decisions it makes and reads.")] = "default",
    name: Annotated[str | None, typer.Option(help="Who holds it, for you to remember.")] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Such as 90d; without, it never does.")
    ] = None,
) -> None:
    """Make a key and print it, once."""
    purpose = Purpose(
        tenant=tenant_name(tenant),
        scopes=scope,
        name=name,
        lifetime=None if expires_in is None else duration(expires_in),
    )
    with _database() as (connection, pepper):
        key = key_table.create(connection, purpose, pepper=pepper)
    _hand_out(key)


@app.command(name="list")
def list_keys() -> None:
    """Show every key there ever was, newest first."""
    with _database() as (connection, _):
        rows = key_table.listed(connection)
    table = Table(*_HEADINGS)
    for row in rows:
        table.add_row(*_cells(row))
    Console(highlight=False, markup=False).print(table)


@app.command()
def rotate(
    key_id: KeyId,
    *,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="0 ends the old key at once.")
    ] = "24h",
) -> None:
    """Make a key's successor and print it, once; the old key works for the grace time yet."""
    grace_time = duration(grace)
    with _database() as (connection, pepper):
        key = key_table.rotate(connection, key_id, grace=grace_time, pepper=pepper)
    _hand_out(key)


@app.command()
def revoke(key_id: KeyId) -> None:
    """End a key; no replica takes it after 5 s."""
    with _database() as (connection, _):
        key_table.revoke(connection, key_id)
    _SAYING.print(f"revoked {key_id}")


@contextmanager
def _database() -> Iterator[tuple[Connection, bytes]]:
    """A transaction, and what keys are stored under. What goes wrong is a message, not a traceback."""
    try:
        settings = _Settings()  # type: ignore[call-arg, unused-ignore]
    except ValidationError as error:
        names = ", ".join(f"RANKLOOP_{each['loc'][0]}".upper() for each in error.errors())
        _refuse(f"missing or not valid: {names}; or name the folder of `rankloop up` with --home")
    engine = create_engine(
        settings.database_url, connect_args={"connect_timeout": _CONNECT_S}, hide_parameters=True
    )
    try:
        with engine.begin() as connection:
            yield connection, settings.secret.get_secret_value().encode()
    except Refusal as refusal:
        _refuse(str(refusal))
    except OperationalError:
        _refuse(f"the database does not answer at {engine.url!r}")
    except ProgrammingError:
        _refuse("the database is not up to date: run `python -m migrations` first")
    finally:
        engine.dispose()


def _hand_out(key: ApiKey) -> None:
    _SAYING.print(f"key {key.key_id}; it is shown this once:")
    typer.echo(key.text)


def _cells(row: Row[Any]) -> tuple[str, ...]:
    return (
        row.key_id,
        row.tenant,
        " ".join(row.scopes),
        row.name or "",
        _time(row.created_at),
        _state(row),
    )


def _state(row: Row[Any]) -> str:
    if row.revoked_at is not None:
        return f"revoked {_time(row.revoked_at)}"
    if row.expires_at is None:
        return "works"
    return f"{'works until' if row.usable else 'expired'} {_time(row.expires_at)}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _refuse(message: str) -> NoReturn:
    _SAYING.print(message, style="red")
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="rankloop keys")
