"""The database of a loop, as a command of an operator reads it: named, in one snapshot, its failures in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from contract.refusals import Refusal
from contract.rewards import RewardSpec
from trainer import rewards, spec_files

_CONNECT_S: Final = 5


class Away(Refusal):
    """The database is not named, does not answer, or has no tables."""


class Settings(BaseSettings):
    """Some of the trainer's own."""

    model_config = SettingsConfigDict(
        env_prefix="RANKLOOP_", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: str
    line: str = "default"
    trainer_reward_spec: Path | None = None


def settings() -> Settings:
    """Raises `Away`."""
    try:
        return Settings()
    except ValidationError as error:
        raise Away(
            "say where the database is with RANKLOOP_DATABASE_URL, or name the folder of `rankloop up` with --home"
        ) from error


@contextmanager
def opened(named: Settings) -> Iterator[Connection]:
    """What is written meanwhile does not show.  Raises `Away`."""
    engine = create_engine(
        named.database_url,
        connect_args={"connect_timeout": _CONNECT_S},
        isolation_level="REPEATABLE READ",
    )
    try:
        with engine.connect() as connection:
            yield connection
    except (OperationalError, ProgrammingError) as error:
        raise Away(f"the database says: {error.orig}") from error
    finally:
        engine.dispose()


def spec(connection: Connection, named: Settings, file: Path | None = None) -> RewardSpec:
    """The file's, else the trainer's, else the one stored last.  Raises `SpecRefused`."""
    path = file or named.trainer_reward_spec
    if path is None:
        return rewards.newest(connection)
    return rewards.numbered(connection, spec_files.read(path))
