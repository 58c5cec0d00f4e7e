"""Commands of the service and the trainer, which `rankloop` hands over to: where they are, and what they are told."""

from collections.abc import Mapping
from pathlib import Path

from rankloop import embedded
from rankloop.home import Home
from rankloop.up import CHECKOUT


class CommandMissing(Exception):
    """The command belongs to another process, and its code is not here."""


def environment(module: str, home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """What the command sees: our own environment, completed from the home where it is silent.

    module: the command's own, such as `service.key_commands`.  Raises `CommandMissing`.
    """
    return {**_of_home(home), **environ, "PYTHONPATH": str(_tree(module))}


def _tree(module: str) -> Path:
    """A checkout is around us; in an image we are installed, and the code lies in its working folder."""
    file = Path(*module.split(".")).with_suffix(".py")
    for folder in (CHECKOUT, Path.cwd()):
        if (folder / file).exists():
            return folder
    package = module.partition(".")[0]
    raise CommandMissing(
        f"this is a command of the {package}, from a checkout of Rankloop or in the {package}'s image;"
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
        "RANKLOOP_ARTIFACTS_URL": str(home.artifacts),
        "RANKLOOP_CACHE_DIR": str(home.cache),
    }
