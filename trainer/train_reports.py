"""What `rankloop train` tells of its outcome, and the report that it leaves behind."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from trainer import log_mode
from trainer.console import TELLING
from trainer.log_mode import Judged
from trainer.reader_mode import Outcome

REPORT: Final = "report.json"


def keep(outcome: Outcome, out: Path, *, calls: int) -> None:
    _keep({**asdict(outcome), "calls": calls}, out)


def show(outcome: Outcome, out: Path, *, calls: int) -> None:
    TELLING.print(f"{calls} calls of the reader")
    if outcome.candidate is None:
        TELLING.print("no round was better than the start on the tune questions: nothing to judge")
        return
    if outcome.rows:
        TELLING.print(_table(outcome))
    TELLING.print(f"used documents differ for {outcome.changed} of {outcome.held_out} questions")
    for verdict in outcome.verdicts:
        TELLING.print(f"{verdict.kind}: {verdict.answer}, {verdict.reason}")
    TELLING.print(f"version {outcome.candidate} in {out / 'candidate'}")


def keep_log(outcome: log_mode.Outcome, out: Path) -> None:
    judged = [{**asdict(each), "passes": each.passes} for each in outcome.judged]
    _keep({**asdict(outcome), "judged": judged, "passes": outcome.passes}, out)


def show_log(outcome: log_mode.Outcome, out: Path) -> None:
    TELLING.print(
        f"line {outcome.line}: {outcome.decisions} decisions, from {outcome.reference[:12]}"
    )
    for where, counts in (
        ("left out", outcome.skipped),
        ("left out of the file", outcome.not_exported),
    ):
        if counts:
            TELLING.print(f"{where}: {_counts(counts)}")
    for suspect in outcome.suspects:
        TELLING.print(f"not believed: {suspect['type']}:{suspect['id']}, {suspect['reason']}")
    for judged in outcome.judged:
        _show_judged(judged)
    if not outcome.judged:
        TELLING.print("nothing was better than the start on the tune queries: nothing to judge")
        return
    passes = "the gate passes it" if outcome.passes else "the gate does not pass it"
    version = outcome.judged[0].candidate.version
    TELLING.print(f"version {version} in {out / 'candidate'}: {passes}")


def _show_judged(judged: Judged) -> None:
    candidate = judged.candidate
    TELLING.print(
        f"{candidate.version[:12]} ({candidate.capacity}, the tune queries promise {candidate.expected_gain:+.4f})"
    )
    for verdict in judged.verdicts:
        TELLING.print(f"  {verdict.kind}: {verdict.answer}, {verdict.reason}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in counts.items())


def _keep(report: dict[str, Any], out: Path) -> None:
    (out / REPORT).write_text(json.dumps(_plain(report), indent=1) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401 -- of JSON
    """What is not finite is not known."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _table(outcome: Outcome) -> Table:
    table = Table("held-out answers", "before", "after", "gain", "95 %", "n")
    for row in outcome.rows:
        table.add_row(
            str(row.metric),
            f"{row.before:.4f}",
            f"{row.after:.4f}",
            f"{row.gain.value:+.4f}",
            f"{row.gain.low:+.4f} to {row.gain.high:+.4f}",
            str(outcome.held_out),
        )
    return table
