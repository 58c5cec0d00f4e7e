"""All cells as one table: what each arm served, when, what it was worth, and how sure that is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.learning import cells
from bench.learning.cells import Done
from bench.learning.worlds import Floats

CHECKPOINTS: Final = (500, 1_000, 2_000, 4_000, 10_000)
ALPHA: Final = 0.025
"""At each end."""


def write(folder: Path, path: Path) -> None:
    rows = [row for done in cells.done(folder) for row in _rows(done)]
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _rows(done: Done) -> Iterator[dict[str, Any]]:
    """One for each checkpoint that the run came to, and one for each version between them."""
    cell = done.cell
    since = {each.since for each in done.played.served}
    asked = {at for at in CHECKPOINTS if at <= cell.events} | since
    for events in sorted(asked):
        serving = done.played.at(events)
        low, high = interval(serving.values)
        yield {
            "world": cell.world,
            "arm": cell.arm,
            "events": events,
            "seed": cell.seed,
            "round": serving.round,
            "split": "held-out",
            "served_version": serving.version,
            "value": round(float(serving.values.mean()), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "n": len(serving.values),
        }


def interval(values: Floats) -> tuple[float, float]:
    """95 % of the mean over questions."""
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean() - 1.96 * error), float(values.mean() + 1.96 * error)
