"""Where the version that is measured comes from: a folder, the store, or a base that the trainer exports."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from contract.artifact import MANIFEST, Manifest, verified
from contract.refusals import Refusal
from contract.store import Store

DEFAULT_BASE: Final = "minilm"


class NoVersion(Refusal):
    """There is nothing to measure; the message says what would help."""


def in_folder(folder: Path) -> Manifest:
    """The manifest of a whole version.  Raises `NoVersion`, `ArtifactRejected`."""
    if not (folder / MANIFEST).is_file():
        message = f"{folder} holds no version: there is no {MANIFEST}"
        raise NoVersion(message)
    return verified(folder, Manifest.of_json((folder / MANIFEST).read_bytes()).version)


def stored(version: str, *, artifacts_url: str | None, cache_dir: Path | None) -> Path:
    """The folder of a version of the store.  Raises `NoVersion`, `ArtifactRejected`."""
    if artifacts_url is None or cache_dir is None:
        raise NoVersion(
            "to name a version, say where they are stored with RANKLOOP_ARTIFACTS_URL and RANKLOOP_CACHE_DIR, or name"
            " the folder of `rankloop up` with --home"
        )
    return Store(artifacts_url).fetch(version, cache_dir)


@contextmanager
def exported(base: str) -> Iterator[Path]:
    """The folder of a base's first version, for a while.  Raises `NoVersion`."""
    if any(find_spec(name) is None for name in ("trainer", "torch")):
        raise NoVersion(
            "a base is exported by the trainer, whose packages are not here: name a version with --version or --folder"
        )
    with TemporaryDirectory(prefix="rankloop-bench-") as parent:
        folder = Path(parent) / "version"
        arguments = [sys.executable, "-m", "trainer.export", "--base", base, "--out", str(folder)]
        ran = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            message = f"the base was not exported: {_reason(ran.stderr)}"
            raise NoVersion(message)
        yield folder


def _reason(said: str) -> str:
    """The last line, and of an exception the message alone."""
    last = (said.strip().splitlines() or ["no reason was given"])[-1]
    return re.sub(r"^[\w.]+: ", "", last)
