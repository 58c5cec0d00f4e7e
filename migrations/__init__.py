"""Brings a database to the schema that the code expects."""

import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

LOCK_NOT_AVAILABLE: Final = "55P03"
PAUSE_S: Final = 1.0


def upgrade(url: str, *, attempts: int = 30) -> None:
    """Apply what is missing.

    Under traffic a migration asks for its locks for 2 s at a time, so that nothing queues behind it for longer.
    """
    for attempt in range(attempts):
        try:
            command.upgrade(config(url), "head")
        except OperationalError as error:
            if not _was_locked(error) or attempt + 1 == attempts:
                raise
            time.sleep(PAUSE_S)
        else:
            return


def config(url: str) -> Config:
    """What alembic's commands need to know, without its ini file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes["url"] = url
    return made


def _was_locked(error: OperationalError) -> bool:
    return getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE
