"""All cells as tables: what each arm served, when, what it was worth, how much better than the start, and how sure."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.learning import cells, plots
from bench.learning.cells import Done
from bench.learning.worlds import Floats, Question
from trainer.estimators import Estimate, mean

CHECKPOINTS: Final = (500, 1_000, 2_000, 4_000, 10_000)
ALPHA: Final = 0.025
"""At each end of an interval."""
FROZEN: Final = "frozen"
HELD_OUT: Final = "held-out"
QUESTIONS: Final = "questions.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Which held-out questions of a world belong together."""

    clusters: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, list[int]]:
        """All of them, then each group where there are several."""
        named = sorted(set(self.groups)) if len(set(self.groups)) > 1 else []
        of_group = {
            f"{HELD_OUT}, {name}": [at for at, group in enumerate(self.groups) if group == name]
            for name in named
        }
        return {HELD_OUT: list(range(len(self.clusters))), **of_group}


def note(folder: Path, world: str, questions: Sequence[Question]) -> None:
    """Keeps beside the cells what the tables need to know of the held-out questions."""
    numbers = {each.cluster: at for at, each in enumerate(questions)}
    held_out = HeldOut(
        clusters=[numbers[each.cluster] for each in questions],
        groups=[each.group for each in questions],
    )
    known = {name: asdict(each) for name, each in _noted(folder).items()}
    folder.mkdir(parents=True, exist_ok=True)
    told = json.dumps({**known, world: asdict(held_out)}, separators=(",", ":"), sort_keys=True)
    (folder / QUESTIONS).write_text(told + "\n", encoding="utf-8")


def _noted(folder: Path) -> dict[str, HeldOut]:
    path = folder / QUESTIONS
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {world: HeldOut(**each) for world, each in found.items()}


def write(folder: Path, out: Path) -> None:
    """`summary.json`: one row for each checkpoint and version; `gains.json`: all seeds of an arm; a picture a world."""
    done, noted = list(cells.done(folder)), _noted(folder)
    gains = list(_gains(done, noted))
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("summary", _rows(done, noted)), ("gains", gains)):
        lines = ",\n".join(json.dumps(row) for row in rows)
        (out / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    plots.draw(gains, out)


def _rows(done: Sequence[Done], noted: Mapping[str, HeldOut]) -> Iterator[dict[str, Any]]:
    for each in done:
        for events in checkpoints(each):
            serving = each.played.at(events)
            for split, members in noted[each.cell.world].splits.items():
                values = serving.values[members]
                value = mean(values, np.arange(len(values)))
                yield {
                    "world": each.cell.world,
                    "arm": each.cell.arm,
                    "events": events,
                    "seed": each.cell.seed,
                    "round": serving.round,
                    "split": split,
                    "served_version": serving.version,
                    "value": round(value.value, 4),
                    "low": round(value.low(ALPHA), 4),
                    "high": round(value.high(ALPHA), 4),
                    "n": len(values),
                }


def checkpoints(done: Done) -> list[int]:
    """Those that the run came to, and each promotion."""
    promoted = {each.since for each in done.played.served}
    asked = {at for at in CHECKPOINTS if min(promoted) <= at <= done.cell.events}
    return sorted(promoted | asked)


def _gains(done: Sequence[Done], noted: Mapping[str, HeldOut]) -> Iterator[dict[str, Any]]:
    """Of each arm over the start, at the checkpoints that all its seeds came to."""
    frozen = {each.cell.world: each.played.served[0] for each in done if each.cell.arm == FROZEN}
    runs: dict[tuple[str, str, int], list[Done]] = defaultdict(list)
    for each in done:
        if each.cell.world in frozen and each.cell.arm != FROZEN:
            runs[each.cell.world, each.cell.arm, each.cell.events].append(each)
    for (world, arm, length), seeds in sorted(runs.items()):
        start = frozen[world].values
        common = set.intersection(*({*checkpoints(each), length} for each in seeds))
        for events in sorted(common):
            for split, members in noted[world].splits.items():
                served = [each.played.at(events).values[members] for each in seeds]
                clusters = [noted[world].clusters[at] for at in members]
                yield {
                    "world": world,
                    "arm": arm,
                    "events": events,
                    "split": split,
                    **_told(served, start[members], clusters),
                    "worst_served": round(_worst(seeds, start, members, until=events), 4),
                }


def _told(served: Sequence[Floats], start: Floats, clusters: Sequence[int]) -> dict[str, Any]:
    found = gain(served, start, clusters=clusters)
    return {
        "seeds": len(served),
        "start": round(float(start.mean()), 4),
        "value": round(float(np.mean(served)), 4),
        "gain": round(found.value, 4),
        "low": round(found.low(ALPHA), 4),
        "high": round(found.high(ALPHA), 4),
        "worst_seed": round(min(float((one - start).mean()) for one in served), 4),
        "n": len(start),
        "clusters": found.clusters,
    }


def gain(served: Sequence[Floats], start: Floats, *, clusters: Sequence[int]) -> Estimate:
    """Paired by question, the seeds' mean of each, clustered by article, story or policy."""
    return mean(np.mean(served, axis=0) - start, np.array(clusters))


def _worst(seeds: Sequence[Done], start: Floats, members: Sequence[int], *, until: int) -> float:
    """The lowest true gain of any version that any seed served."""
    return min(
        float((serving.values - start)[members].mean())
        for each in seeds
        for serving in each.played.served
        if serving.since <= until
    )
