"""Each world's arms as a picture: the gain over the start, its seeds together, as events come."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row: TypeAlias = Mapping[str, Any]
"""Of `gains.json`."""
SPLIT: Final = "held-out"
STYLES: Final = ("-", "--", ":")
"""Ten colours are not enough for all arms."""


def draw(gains: Sequence[Row], folder: Path) -> None:
    """`WORLD.png` for each world, over all its held-out questions."""
    of_world: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in gains:
        if row["split"] == SPLIT:
            of_world[row["world"]][row["arm"]].append(row)
    for world, arms in of_world.items():
        _figure(world, arms).savefig(folder / f"{world}.png", dpi=120)


def _figure(world: str, arms: Mapping[str, Sequence[Row]]) -> Figure:
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    for number, (arm, rows) in enumerate(arms.items()):
        style = STYLES[number // 10 % len(STYLES)]
        _draw(axes, arm, sorted(rows, key=lambda row: row["events"]), f"C{number % 10}", style)
    axes.axhline(0, color="black", linewidth=1)
    axes.set(xlabel="events", ylabel="gain over the start, 95 %", title=world)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3)
    return figure


def _draw(axes: Axes, arm: str, rows: Sequence[Row], colour: str, style: str) -> None:
    """A rule is a line, what was trained at once a point, and what learned as it went a path."""
    events = [row["events"] for row in rows]
    gains, low, high = ([row[name] for row in rows] for name in ("gain", "low", "high"))
    label = f"{arm} ({rows[-1]['seeds']})"
    if events == [0]:
        axes.axhline(gains[0], color=colour, linestyle=style, linewidth=1, label=arm)
    elif len(events) == 1:
        around = [[gains[0] - low[0]], [high[0] - gains[0]]]
        axes.errorbar(events, gains, yerr=around, color=colour, fmt="o", capsize=4, label=label)
    else:
        axes.fill_between(events, low, high, color=colour, alpha=0.12, step="post")
        axes.step(events, gains, color=colour, linestyle=style, where="post", label=label)
