"""Virtual environments of pinned packages, for what should not be installed beside us."""

import subprocess
import venv
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path


def python(folder: Path, requirements: Sequence[Path], *, resolve: bool = False) -> Path:
    """Its interpreter; makes the environment where it is missing or its files have changed.

    requirements: files that name everything, in the order of their installation.
    resolve: whether what they leave out comes along, as a build of torch may need more on another machine.
    """
    interpreter, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = sha256(b"".join(file.read_bytes() for file in requirements)).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        venv.create(folder, with_pip=True, clear=True)
        for file in requirements:
            alone = [] if resolve else ["--no-deps"]
            _pip(interpreter, "install", "--quiet", *alone, "--requirement", str(file))
        _pip(interpreter, "check")
        stamp.write_text(wanted, encoding="utf-8")
    return interpreter


def _pip(interpreter: Path, *arguments: str) -> None:
    subprocess.run([interpreter, "-m", "pip", *arguments], check=True)
