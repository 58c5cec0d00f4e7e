"""What the parts found, as pictures: `NAME.png` beside `NAME.json`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Found: TypeAlias = Mapping[str, Any]
"""What a part wrote."""

SHARES: Final = ("p50", "p90", "p99")
WIDTH: Final = 0.4
"""Of a bar; two stand beside each other for each share."""


def write(folder: Path) -> None:
    """Of the results in this folder."""
    for name, draw in FIGURES.items():
        path = folder / f"{name}.json"
        if path.exists():
            figure = draw(json.loads(path.read_text(encoding="utf-8")))
            figure.savefig(folder / f"{name}.png", dpi=120)


def summary(found: Found) -> Figure:
    """The first case, which has the most rounds."""
    case = found["against_the_best"][0]
    same = ("documents", "tokens")
    rows = [row for row in found["rows"] if all(row[name] == case[name] for name in same)]
    figure = _figure()
    axes = figure.subplots()
    axes.barh(
        [f"{row['server']}, {row['precision']}, {row['transport']}" for row in rows],
        [row["median_ms"] for row in rows],
    )
    axes.invert_yaxis()
    axes.set(xlabel="ms, median", title=f"{case['documents']} documents, tokens {case['tokens']}")
    return figure


def load(found: Found) -> Figure:
    figure = _figure()
    axes = figure.subplots()
    for at, (name, label) in enumerate((("mixed", "beside large ones"), ("alone", "alone"))):
        heights = [found["fairness"][name].get(f"small_{share}_ms", 0) for share in SHARES]
        left = [number + at * WIDTH for number in range(len(SHARES))]
        axes.bar(left, heights, WIDTH, label=label, align="edge")
    axes.set_xticks([number + WIDTH for number in range(len(SHARES))], SHARES)
    axes.set(ylabel="ms", title="Small requests at 70 % of capacity")
    axes.legend()
    return figure


def swaps(found: Found) -> Figure:
    figure = _figure()
    axes = figure.subplots()
    rows = [row for row in found["since_swap"] if "small_n" in row]
    since = [row["since_s"] for row in rows]
    for share in SHARES:
        axes.plot(since, [row[f"small_{share}_ms"] for row in rows], marker="o", label=share)
    axes.axvline(found["near_s"], color="black", linewidth=1)
    axes.set(xlabel="seconds since the swap was published", ylabel="ms", ylim=(0, None))
    axes.set_title(f"Small requests, {found['swaps']} swaps")
    axes.legend()
    return figure


def memory(found: Found) -> Figure:
    models = [name for name in ("one_layer", "real") if name in found]
    figure = _figure()
    for axes, name in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        samples = found[name]["samples"]
        requests = [sample["requests"] for sample in samples]
        for kind in ("rss", "anonymous"):
            axes.plot(requests, [sample[kind] for sample in samples], marker=".", label=kind)
        axes.set(xlabel="requests", ylabel="MiB", ylim=(0, None), title=name.replace("_", " "))
        axes.legend()
    return figure


def scaling(found: Found) -> Figure:
    figure = _figure()
    documents, tokens, callers = figure.subplots(1, 3, sharey=True)
    _curve(documents, found, "documents")
    _curve(tokens, found, "tokens")
    for size in sorted({row["documents"] for row in found["rows"] if row["varies"] == "callers"}):
        _curve(callers, found, "callers", documents=size)
    callers.legend(title="documents")
    documents.set(ylabel="documents/s", ylim=(0, None))
    return figure


def _curve(axes: Axes, found: Found, varies: str, *, documents: int | None = None) -> None:
    rows = [
        row
        for row in found["rows"]
        if row["varies"] == varies and documents in {None, row["documents"]}
    ]
    rates = [row["documents_per_s"] for row in rows]
    places = [row[varies] for row in rows]
    axes.plot(places, rates, marker="o", label=documents)
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, places)
    axes.set(xlabel=varies)
    axes.grid(alpha=0.3)


def _figure() -> Figure:
    return Figure(figsize=(10, 5), layout="constrained")


FIGURES: Final[Mapping[str, Callable[[Found], Figure]]] = {
    "summary": summary,
    "load": load,
    "swaps": swaps,
    "memory": memory,
    "scaling": scaling,
}
