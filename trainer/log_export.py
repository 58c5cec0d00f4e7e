"""Writes what a line has learned from and may learn from again to one file, a few decisions in memory at a time."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from sqlalchemy import Connection

from contract.refusals import Refusal
from contract.rewards import RewardSpec
from trainer import drafts, join
from trainer.bandit_files import BanditWriter
from trainer.console import Watch
from trainer.examples import Example, Skipped
from trainer.join import Extent
from trainer.log_files import ROWS, About, LogWriter


class NothingToExport(Refusal):
    """The line has no rewarded decision that can be learned from."""


class Format(StrEnum):
    """Of the file."""

    PARQUET = "parquet"
    OBP = "obp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of the rewarded decisions."""

    decisions: int
    skipped: Mapping[Skipped, int]


class _Writer(Protocol):
    def add(self, chunk: Sequence[Example]) -> None: ...

    def finish(self, about: About) -> None: ...


def export(
    connection: Connection,
    file: Path,
    *,
    line: str,
    spec: RewardSpec,
    format_: Format,
    watch: Watch,
) -> Exported:
    """The file has its name once it is whole.  Raises `NothingToExport` or `PropensitiesWrong`."""
    window = join.closed(connection, line, spec)
    extent = join.extent(connection, window)
    if not extent.decisions:
        raise NothingToExport(_nothing(line, spec, {}))
    skipped: Counter[Skipped] = Counter()
    decisions = 0
    with _writer(file, format_, extent) as writer:
        with watch("decisions", extent.decisions) as tell:
            for chunk in join.stream(connection, window, chunk=ROWS):
                kept = [each for each in chunk if isinstance(each, Example)]
                skipped.update(each for each in chunk if not isinstance(each, Example))
                writer.add(kept)
                decisions += len(kept)
                for _ in chunk:
                    tell()
        join.refuse_wrong(skipped[Skipped.QUARANTINED], learned=decisions)
        if not decisions:
            raise NothingToExport(_nothing(line, spec, skipped))
        counts = {reason.value: number for reason, number in skipped.items()}
        writer.finish(About(line=line, spec=spec.definition(), skipped=counts))
    return Exported(decisions=decisions, skipped=+skipped)


@contextmanager
def _writer(file: Path, format_: Format, extent: Extent) -> Iterator[_Writer]:
    with drafts.draft(file) as path:
        match format_:
            case Format.PARQUET:
                with LogWriter(path) as writer:
                    yield writer
            case Format.OBP:
                with TemporaryDirectory(dir=file.parent, prefix=".obp-") as folder:
                    yield BanditWriter(
                        path,
                        Path(folder),
                        decisions=extent.decisions,
                        sampled=extent.sampled,
                    )


def _nothing(line: str, spec: RewardSpec, skipped: Mapping[Skipped, int]) -> str:
    told = ", ".join(f"{number} {reason}" for reason, number in skipped.items())
    return (
        f"line {line} has no decision that is rewarded by {spec.id}@{spec.version} and can be learned from"
        + (f": {told}" if told else "")
    )
