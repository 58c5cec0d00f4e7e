"""`python -m trainer.register --base minilm`: gives a line its first version, unless it has one.

`--version FOLDER` makes one more version known, such as one that `rankloop train` made: it serves once it is promoted.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Engine, create_engine

from contract import artifact, publication
from contract.artifact import MANIFEST, ArtifactRejected, Manifest
from contract.pointer import Live
from contract.publication import Action
from contract.refusals import Refusal
from contract.store import Store
from trainer import base, export, publish
from trainer.lease import Lease
from trainer.settings import TrainerSettings

logger = logging.getLogger("trainer.register")

LEASE_S: Final = 60.0


class LineBusy(Refusal):
    """A trainer holds the lease of this line, and yet the line has no version."""


class NothingServes(Refusal):
    """The line has no version yet: it starts from a base."""


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m trainer.register", description=__doc__)
    parser.add_argument("--base", default=base.MINILM, help="minilm, a folder or a hub id")
    parser.add_argument("--version", type=Path, metavar="FOLDER", help="of a complete version")
    parser.add_argument("--line", help="RANKLOOP_LINE where it is not given")
    options = parser.parse_args(arguments)
    try:
        settings = TrainerSettings()
        version = (
            register(settings, base=options.base, line=options.line)
            if options.version is None
            else add(settings, options.version, line=options.line)
        )
    except ValidationError as error:
        sys.stderr.write("".join(f"{problem['msg']}\n" for problem in error.errors()))
        return 2
    except (ArtifactRejected, NothingServes) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    sys.stdout.write(f"{version}\n")
    return 0


def add(settings: TrainerSettings, folder: Path, *, line: str | None = None) -> str:
    """Returns the name of the folder's version, known to the line now.  Raises `ArtifactRejected`, `NothingServes`."""
    if not (folder / MANIFEST).is_file():
        message = f"{folder} holds no version: there is no {MANIFEST}"
        raise ArtifactRejected(message)
    artifact.verified(folder, Manifest.of_json((folder / MANIFEST).read_bytes()).version)
    asked = line or settings.line
    engine = create_engine(settings.database_url)
    try:
        if _live(engine, asked) is None:
            raise NothingServes(f"line {asked} serves nothing yet; start it from a base first")
        return publish.store_version(Store(settings.artifacts_url), engine, folder, line=asked)
    finally:
        engine.dispose()


def register(settings: TrainerSettings, *, base: str, line: str | None = None) -> str:
    """Returns the version that the line serves: the base's, if it served none.  Raises `LineBusy`."""
    engine = create_engine(settings.database_url)
    try:
        return _register(engine, settings, base=base, line=line or settings.line)
    finally:
        engine.dispose()


def _register(engine: Engine, settings: TrainerSettings, *, base: str, line: str) -> str:
    with Lease(engine, line, ttl_s=LEASE_S) as lease:
        live = _live(engine, line)
        if live is not None:
            return live
        token = lease.take()
        if token is None:
            raise LineBusy(f"the lease of line {line} is held")
        version = _store_base(engine, settings, base=base, line=line)
        publish.promote(
            engine,
            Live(line=line, epoch=1, version=version),
            token=token,
            reason=f"starts from {base}",
            action=Action.INIT,
        )
        return version


def _live(engine: Engine, line: str) -> str | None:
    with engine.connect() as connection:
        row = connection.execute(publication.live(line)).one_or_none()
    return None if row is None else str(row.version)


def _store_base(engine: Engine, settings: TrainerSettings, *, base: str, line: str) -> str:
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache_dir, prefix=".export-") as parent:
        made = export.export_base(
            base, Path(parent) / "version", precisions=settings.trainer_precisions
        )
        for precision, parity in made.parity.items():
            logger.info("export.measured precision=%s %s", precision, parity)
        store = Store(settings.artifacts_url)
        return publish.store_version(store, engine, made.folder, line=line)


if __name__ == "__main__":
    sys.exit(main())
