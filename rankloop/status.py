"""What a line serves, how it came to that, and what the gate said of the models that wanted to replace it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rankloop.operators import Overview, Row

VERSION_CHARACTERS: Final = 12

PROMOTIONS: Final = ("epoch", "action", "version", "by", "at", "reason")
RUNS: Final = ("started", "status", "decisions", "produced", "error")
VERDICTS: Final = ("version", "verdict", "gain", "interval", "queries", "reason")


def show(console: Console, overview: Overview) -> None:
    live = overview.live
    if live is None:
        console.print("nothing is served yet")
        return
    console.print(
        f"line {live['line']} serves {_short(live['version'])} as epoch {live['epoch']}"
        f" since {_time(live['created_at'])}"
    )
    if live["canary_version"] is not None:
        console.print(
            f"its canary {_short(live['canary_version'])} answers {live['canary_share']:.0%}"
        )
    if live["hold_back_version"] is not None:
        console.print(_held_back(live, overview.held_back))
    if overview.frozen is not None:
        console.print(f"frozen, no training: {overview.frozen['reason']}")
    console.print(", ".join(f"{number} {name}" for name, number in overview.counts.items()))
    for title, headings, rows in (
        ("promotions", PROMOTIONS, [_promotion(row) for row in overview.promotions]),
        ("runs", RUNS, [_run(row) for row in overview.runs]),
        ("verdicts", VERDICTS, [_verdict(row) for row in overview.evaluations]),
    ):
        if rows:
            console.print(_table(title, headings, rows))


def as_json(overview: Overview) -> dict[str, Any]:
    """Everything that the tables are made of."""
    return {"live": overview.live, "counts": overview.counts} | asdict(overview)


def _held_back(live: Row, said: Row | None) -> str:
    base, share = live["hold_back_version"], f"{100 * live['hold_back_share']:g}%"
    if base == live["version"]:
        return f"{share} will be held back: the base serves everybody yet"
    known = "nothing is known yet" if said is None else said["reason"]
    return f"{share} are held back for the base {_short(base)}: {known}"


def _promotion(row: Row) -> Sequence[object]:
    canary, at = row["canary_version"], _time(row["created_at"])
    beside = f" + {row['canary_share']:.0%} {_short(canary)}" if canary else ""
    version = _short(row["version"]) + beside
    return row["epoch"], row["action"], version, row["actor"], at, row["reason"]


def _run(row: Row) -> Sequence[object]:
    produced = _short(row["produced"])
    return _time(row["started_at"]), row["status"], row["n_decisions"], produced, row["error"]


def _verdict(row: Row) -> Sequence[object]:
    gain, low, high = (_number(row[name]) for name in ("estimate", "low", "high"))
    version, interval = _short(row["version"]), f"{low} to {high}"
    return version, row["verdict"], gain, interval, row["clusters"], row["reason"]


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(*headings, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return table


def _short(version: str | None) -> str:
    return (version or "")[:VERSION_CHARACTERS]


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:+.3f}"


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
