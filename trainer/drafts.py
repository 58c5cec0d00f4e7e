"""Files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Where to write meanwhile: it takes the asked name at the end, and is gone where there was a failure."""
    unfinished = path.with_name(f".{path.name}.draft")
    unfinished.touch()  # says at once whether it can be written
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
