"""What one or several runs came to: a table, a JSON file for whoever checks it, and a picture of the learning curve."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from contract.environment import cores
from examples.demo.quality import Comparison

SMOOTHED: Final = 300
"""Answers in one point of the traffic's moving mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Held-out answer quality of the version that was live after so many decisions."""

    decisions: int
    version: str
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One run."""

    seed: int
    decisions: int
    promoted: int
    refused: int
    failed_requests: int
    reader_failures: int
    comparison: Comparison
    groups: Mapping[str, Comparison]
    ceiling: float
    curve: Sequence[Point]
    traffic: Sequence[float] = field(repr=False)
    """True quality of each answer, in the order they came."""
    seconds: Mapping[str, float]
    verdicts: Sequence[str]
    """What was promoted and what was refused, with reasons."""
    judge: Mapping[str, Any] | None = None
    """What calibration found of the judge that gave the rewards."""

    @property
    def gap_closed(self) -> float | None:
        """Share of the way from the start to the ceiling; None where there is no way to go."""
        way = self.ceiling - self.comparison.start
        return self.comparison.gain / way if way > 0 else None

    def row(self) -> dict[str, object]:
        """As it is written to the JSON file."""
        return {
            "seed": self.seed,
            "decisions": self.decisions,
            "promoted": self.promoted,
            "refused": self.refused,
            "failed_requests": self.failed_requests,
            "reader_failures": self.reader_failures,
            **_row(self.comparison),
            "ceiling": round(self.ceiling, 4),
            "gap_closed": None if self.gap_closed is None else round(self.gap_closed, 4),
            "groups": {name: _row(comparison) for name, comparison in self.groups.items()},
            "curve": [[p.decisions, p.version[:12], round(p.quality, 4)] for p in self.curve],
            "verdicts": list(self.verdicts),
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
            **({} if self.judge is None else {"judge": self.judge}),
        }


def write(path: Path, runs: Sequence[Played], *, command: str) -> None:
    """One object for each run; where and how it ran is in each, so that each can be read alone."""
    about = {"machine": machine(), "command": command}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([run.row() | about for run in runs], indent=2) + "\n")


def machine() -> str:
    """What this ran on."""
    return f"{cores()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def show(console: Console, runs: Sequence[Played]) -> None:
    table = Table(title="held-out answer quality", title_justify="left")
    for heading in ("seed", "questions", "start", "final", "gain", "95 %", "ceiling", "gap closed"):
        table.add_column(heading, justify="right")
    for run in runs:
        closed = "-" if run.gap_closed is None else f"{run.gap_closed:.0%}"
        table.add_row(str(run.seed), *_cells(run.comparison), f"{run.ceiling:.3f}", closed)
        for name, comparison in run.groups.items() if len(run.groups) > 1 else ():
            table.add_row("", f"{name} {comparison.questions}", *_cells(comparison)[1:])
    console.print(table)
    for run in runs:
        console.print(
            f"seed {run.seed}: {run.decisions} decisions, {run.promoted} promoted,"
            f" {run.refused} refused, {run.failed_requests} failed requests"
        )


def draw(path: Path, runs: Sequence[Played], *, title: str) -> None:
    """The learning curve of each run; the ceiling dashed in its colour."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for number, run in enumerate(runs):
        colour = f"C{number}"
        axes.plot(*_moving_mean(run.traffic), color=colour, alpha=0.35, linewidth=1)
        axes.step(
            [point.decisions for point in run.curve],
            [point.quality for point in run.curve],
            where="post",
            marker="o",
            color=colour,
            label=f"seed {run.seed}: {run.comparison.start:.2f} to {run.comparison.final:.2f}",
        )
        axes.axhline(run.ceiling, color=colour, linestyle="--", linewidth=1)
    axes.set(xlabel="decisions", ylabel="answer quality", ylim=(0, 1), title=title)
    axes.plot([], [], color="grey", alpha=0.5, label="traffic, exploration included (moving mean)")
    axes.plot([], [], color="grey", linestyle="--", label="trained on gold labels")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _moving_mean(values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    width = min(SMOOTHED, len(values))
    if width == 0:
        return [], []
    means = np.convolve(values, np.full(width, 1 / width), mode="valid")
    return range(width, len(values) + 1), means.tolist()


def _row(comparison: Comparison) -> dict[str, object]:
    return {
        "questions": comparison.questions,
        "clusters": comparison.clusters,
        "start": round(comparison.start, 4),
        "final": round(comparison.final, 4),
        "interval": [round(bound, 4) for bound in comparison.interval],
    }


def _cells(comparison: Comparison) -> list[str]:
    low, high = comparison.interval
    return [
        str(comparison.questions),
        f"{comparison.start:.3f}",
        f"{comparison.final:.3f}",
        f"{comparison.gain:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
    ]
