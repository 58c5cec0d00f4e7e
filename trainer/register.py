"""`python -m trainer.register --base minilm`: gives a line its first version, unless it has one."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Engine, create_engine

from contract import publication
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


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m trainer.register", description=__doc__)
    parser.add_argument("--base", default=base.MINILM, help="minilm, a folder or a hub id")
    parser.add_argument("--line", help="RANKLOOP_LINE where it is not given")
    options = parser.parse_args(arguments)
    try:
        settings = TrainerSettings()
    except ValidationError as error:
        sys.stderr.write("".join(f"{problem['msg']}\n" for problem in error.errors()))
        return 2
    version = register(settings, base=options.base, line=options.line)
    sys.stdout.write(f"{version}\n")
    return 0


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
            line=line,
            version=version,
            expected_epoch=0,
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
