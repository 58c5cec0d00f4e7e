"""What was measured side by side, as a table and as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

OURS: Final = "Rankloop"
HEAD: Final = (
    "| server | precision | transport | min ms | median ms | times ours in float32 (95 %) | scores |\n"
    "|---|---|---|---:|---:|---:|---|\n"
)
DPI: Final = 150


def write(summary: Mapping[str, Any], *, folder: Path) -> None:
    """`summary.md` and `summary.png`."""
    (folder / "summary.md").write_text(tables(summary["rows"]), encoding="utf-8")
    _plot(_cases(summary["rows"])).savefig(folder / "summary.png", dpi=DPI)


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """One for each case, in Markdown."""
    return "\n".join(
        f"### {title}\n\n{HEAD}{''.join(map(line, own))}" for title, own in _cases(rows).items()
    )


def line(row: Mapping[str, Any]) -> str:
    low, high = row["times_95"]
    scores = "the same" if row["same_scores"] else f"off by up to {row['max_difference']}"
    return (
        f"| {row['server']} | {row['precision']} | {row['transport']} | {row['min_ms']} | {row['median_ms']} "
        f"| {row['times']} ({low} to {high}) | {scores} |\n"
    )


def _cases(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        tokens = (
            f"of {row['tokens']} tokens" if isinstance(row["tokens"], int) else "of mixed length"
        )
        found.setdefault(f"{row['documents']} documents {tokens}", []).append(row)
    return found


def _plot(cases: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    figure = Figure(figsize=(8, 3 * len(cases)), layout="constrained")
    for number, (title, rows) in enumerate(cases.items(), 1):
        axis = figure.add_subplot(len(cases), 1, number)
        names = [f"{row['server']}, {row['precision']}" for row in rows]
        colours = ["tab:orange" if row["server"] == OURS else "tab:gray" for row in rows]
        axis.barh(names, [row["median_ms"] for row in rows], color=colours)
        axis.invert_yaxis()
        axis.set_title(title)
        axis.set_xlabel("milliseconds, median")
    return figure
