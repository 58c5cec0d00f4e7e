"""Where `rankloop keys` finds the service's own command, the database and the secret under which keys are stored."""

from collections.abc import Mapping
from pathlib import Path

from rankloop import embedded
from rankloop.home import Home
from rankloop.up import CHECKOUT


class CannotFind(Exception):
    """Something that keys are made with is not where it was looked for; the message says what to do."""


def environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """What the command sees: our own environment, completed from the home where it is silent.

    Raises `CannotFind`.
    """
    found = {
        "RANKLOOP_DATABASE_URL": environ.get("RANKLOOP_DATABASE_URL") or _database_url(home),
        "RANKLOOP_SECRET": environ.get("RANKLOOP_SECRET") or _secret(home),
    }
    return {**environ, **found, "PYTHONPATH": str(_tree())}


def _tree() -> Path:
    """A checkout is around us; in an image we are installed, and the service lies in its working folder."""
    for folder in (CHECKOUT, Path.cwd()):
        if (folder / "service" / "key_commands.py").exists():
            return folder
    raise CannotFind(
        "keys are made by the service, from a checkout of Rankloop or in its image;"
        " what is installed here is the command line alone"
    )


def _database_url(home: Home) -> str:
    folder = home.path / "postgres"
    if not folder.exists():
        raise CannotFind(
            f"there is no loop in {home.path}: say where it is with --home, or set"
            " RANKLOOP_DATABASE_URL and RANKLOOP_SECRET to the service's own"
        )
    return embedded.postgres_url(folder)


def _secret(home: Home) -> str:
    """Read, never made: under a new secret no key would work."""
    try:
        return home.secret_file.read_text()
    except FileNotFoundError as missing:
        raise CannotFind(
            f"RANKLOOP_SECRET is not set, and there is none in {home.path}: keys work under the"
            " service's own secret alone"
        ) from missing
