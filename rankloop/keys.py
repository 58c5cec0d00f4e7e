"""Where `rankloop keys` finds the service's own command, the database and the secret under which keys are stored."""

from collections.abc import Mapping
from pathlib import Path

from rankloop import embedded
from rankloop.home import Home
from rankloop.up import CHECKOUT


class ServiceMissing(Exception):
    """Keys are made by the service's own command, and it is not here."""


def environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """What the command sees: our own environment, completed from the home where it is silent.

    Raises `ServiceMissing`.
    """
    return {**_of_home(home), **environ, "PYTHONPATH": str(_tree())}


def _tree() -> Path:
    """A checkout is around us; in an image we are installed, and the service lies in its working folder."""
    for folder in (CHECKOUT, Path.cwd()):
        if (folder / "service" / "key_commands.py").exists():
            return folder
    raise ServiceMissing(
        "keys are made by the service, from a checkout of Rankloop or in its image;"
        " what is installed here is the command line alone"
    )


def _of_home(home: Home) -> dict[str, str]:
    """Nothing where no loop was started: under a secret made now, no key would ever work."""
    postgres = home.path / "postgres"
    if not (home.secret_file.exists() and postgres.exists()):
        return {}
    return {
        "RANKLOOP_DATABASE_URL": embedded.postgres_url(postgres),
        "RANKLOOP_SECRET": home.secret(),
    }
