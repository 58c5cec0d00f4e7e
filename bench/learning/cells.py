"""One cell is one world, arm and seed: played once, kept in a file, so that a run that was stopped goes on."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from bench.learning import others
from bench.learning.arms import ARMS
from bench.learning.loop import Played, Serving, play
from bench.learning.studio import Snapshot, Studio
from bench.learning.worlds import World, value

FOLDER: Final = Path(__file__).parents[1] / "results" / "learning" / "cells"
SUPERVISED: Final = {
    "gold-labels": others.gold_labels,
    "judged-all": others.judged_all,
    "judged-top": others.judged_top,
    "rrpo": others.rrpo_reader,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was asked."""

    world: str
    arm: str
    seed: int
    events: int

    def path(self, folder: Path) -> Path:
        return folder / f"{self.world}.{self.arm}.{self.seed}.{self.events}.json.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A cell and what came of it."""

    cell: Cell
    played: Played

    @classmethod
    def read(cls, path: Path) -> Self:
        found = json.loads(gzip.decompress(path.read_bytes()))
        served = [
            Serving(**{**each, "values": np.array(each["values"])}) for each in found["served"]
        ]
        return cls(cell=Cell(**found["cell"]), played=Played(served=served, rounds=found["rounds"]))

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "cell": asdict(self.cell),
            "served": [_told(each) for each in self.played.served],
            "rounds": self.played.rounds,
        }
        packed = gzip.compress(json.dumps(told, separators=(",", ":")).encode(), mtime=0)
        path.write_bytes(packed)


def _told(serving: Serving) -> Mapping[str, Any]:
    return {
        "version": serving.version,
        "since": serving.since,
        "round": serving.round,
        "values": serving.values.round(4).tolist(),
    }


def played(cell: Cell, world: World, studio: Studio) -> Done:
    return Done(cell=cell, played=_played(cell, world, studio))


def _played(cell: Cell, world: World, studio: Studio) -> Played:
    if cell.arm in others.RULES:
        values = value(world, others.rule(cell.arm, world, studio))
        serving = Serving(version=cell.arm, since=0, round=0, values=values)
        return Played(served=[serving], rounds=[])
    if cell.arm in SUPERVISED:
        taught = SUPERVISED[cell.arm](world, studio, events=cell.events, seed=cell.seed)
        return Played(served=[_measured(taught, world, since=cell.events)], rounds=[])
    return play(world, ARMS[cell.arm], studio, seed=cell.seed, events=cell.events)


def _measured(snapshot: Snapshot, world: World, *, since: int) -> Serving:
    orders = [order.tolist() for order in snapshot.orders(world.held_out)]
    return Serving(version=snapshot.version, since=since, round=0, values=value(world, orders))


def done(folder: Path) -> Iterator[Done]:
    for path in sorted(folder.glob("*.json.gz")):
        yield Done.read(path)
