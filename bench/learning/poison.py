"""What flipped rewards cost: of 40 sources some say the opposite of what they saw, with and without a defence.

    python -m bench.learning.poison --data DIR [--seeds 10] [--events 4000] [--share .05 .1 .2] [--threads 1]

The same questions, orders and noise in every run of a seed, and the same sources lie in all of its runs of a share or a
larger one. `clean` is the run in which nobody does, undefended; a cost is the value that it ends with less that of the
run, paired by question and seed. Each run is a file under `bench/results/learning/poison`, so that a stopped run goes
on; `poison.json` sums them up. DIR is for the worlds other than the handbook.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench.learning import cells, summary, worlds
from bench.learning.arms import ARMS
from bench.learning.cells import Cell, Done
from bench.learning.loop import Loop, follow
from bench.learning.studio import Studio
from bench.learning.worlds import Floats, Question, World
from contract.records import Source
from trainer import agreement, caps
from trainer.caps import UNBOUNDED, Shares
from trainer.estimators import mean
from trainer.examples import Example, Origin
from trainer.settings import TrainerSettings
from trainer.splits import Split

logger = logging.getLogger("bench.learning.poison")

SOURCES: Final = 40
SHARES: Final = (0.05, 0.1, 0.2)
ALLOWED: Final[Mapping[float, float]] = {0.05: 0.01, 0.1: 0.02, 0.2: 0.03}
"""What a share of liars may cost the defended learner, at the upper bound."""
CLEAN: Final = "clean"
DEFENDED: Final = "defended"
UNDEFENDED: Final = "undefended"
ALPHA: Final = 0.025
CACHE_BYTES: Final = 4 << 30
FOLDER: Final = cells.FOLDER.parent / "poison"
SETTINGS: Final = TrainerSettings.model_construct()


@dataclass(kw_only=True)
class Poisoned(Loop):
    """A loop whose feedback has sources, of which some lie."""

    liars: frozenset[Origin] = frozenset()
    defended: bool = False
    suspected: list[Origin] = field(default_factory=list)
    """In the round that is on."""

    @property
    def shares(self) -> Shares:
        return SETTINGS.shares if self.defended else UNBOUNDED

    def answered(
        self, question: Question, *, number: int, rng: np.random.Generator
    ) -> Example | None:
        """Sources take turns; the questions do not know of it."""
        example = super().answered(question, number=number, rng=rng)
        if example is None:
            return None
        source = origin(number % SOURCES)
        reward = 1 - example.reward if source in self.liars else example.reward
        return replace(example, reward=reward, origins=frozenset([source]))

    def split(self) -> Split:
        """As `trainer.rounds` reads: first whom to believe, then how much of each."""
        sides = super().split()
        if not self.defended:
            return sides
        found = agreement.suspects(self.log)
        self.suspected = [each.origin for each in found]
        return caps.within(
            Split(
                train=tuple(agreement.believed(sides.train, found)),
                tune=tuple(agreement.believed(sides.tune, found)),
                gate=tuple(agreement.believed(sides.gate, found)),
            ),
            self.shares,
        )[0]

    def learn(self) -> dict[str, Any]:
        told = super().learn()
        caught = self.liars.intersection(self.suspected)
        return told | {"caught": len(caught), "accused": len(self.suspected) - len(caught)}


def origin(number: int) -> Origin:
    return Origin("bench", Source.END_USER, f"user-{number:02}")


def liars(share: float, *, seed: int) -> frozenset[Origin]:
    """Of a larger share, those of a smaller one too."""
    order = np.random.default_rng([seed, 5]).permutation(SOURCES)
    return frozenset(origin(int(number)) for number in order[: round(share * SOURCES)])


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    world = _world(options)
    missing = [each for each in _asked(options) if not each.path(options.cells).exists()]
    if missing:
        studio = Studio(max_bytes=CACHE_BYTES)
        for cell in missing:
            _play(cell, world, studio, folder=options.cells)
    numbers = {question.cluster: at for at, question in enumerate(world.held_out)}
    clusters = [numbers[question.cluster] for question in world.held_out]
    rows = list(costs([*cells.done(options.cells)], clusters=clusters, events=options.events))
    lines = ",\n".join(json.dumps(row) for row in rows)
    options.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return 0


def _world(options: argparse.Namespace) -> World:
    world = worlds.load(options.world, options.data)
    some = options.questions
    return replace(world, train=world.train[:some], held_out=world.held_out[:some])


def _asked(options: argparse.Namespace) -> Iterator[Cell]:
    arms = [CLEAN, f"{DEFENDED}-0"]
    arms += [f"{way}-{share}" for share in options.share for way in (DEFENDED, UNDEFENDED)]
    for seed in range(1, options.seeds + 1):
        for arm in arms:
            yield Cell(world=options.world, arm=arm, seed=seed, events=options.events)


def _play(cell: Cell, world: World, studio: Studio, *, folder: Path) -> None:
    begun = time.monotonic()
    way, _, share = cell.arm.partition("-")
    loop = Poisoned.of(world, ARMS["ours"], studio, seed=cell.seed)
    loop.liars = liars(float(share or 0), seed=cell.seed)
    loop.defended = way == DEFENDED
    done = Done(cell=cell, played=follow(loop, events=cell.events))
    done.write(cell.path(folder))
    logger.info(
        "%s seed %d: %.4f after %d rounds, in %.0f s",
        *(cell.arm, cell.seed, done.played.served[-1].values.mean()),
        *(len(done.played.rounds), time.monotonic() - begun),
    )


def costs(
    done: Sequence[Done], *, clusters: Sequence[int], events: int
) -> Iterator[dict[str, Any]]:
    """A row for each arm and checkpoint: what it is worth, and what it lost to the clean run of its seeds."""
    runs = {(each.cell.arm, each.cell.seed): each for each in done if each.cell.events == events}
    for arm in sorted({arm for arm, _ in runs} - {CLEAN}):
        seeds = [seed for of_arm, seed in sorted(runs) if of_arm == arm and (CLEAN, seed) in runs]
        for at in sorted({each for each in summary.CHECKPOINTS if each < events} | {events}):
            clean = [runs[CLEAN, seed].played.at(at).values for seed in seeds]
            served = [runs[arm, seed].played.at(at).values for seed in seeds]
            yield {
                **_named(arm),
                "events": at,
                "seeds": len(seeds),
                "clean": round(float(np.mean(clean)), 4),
                "value": round(float(np.mean(served)), 4),
                **_cost(clean, served, clusters),
                **_rounds([runs[arm, seed] for seed in seeds], until=at),
            }


def _named(arm: str) -> dict[str, Any]:
    way, _, share = arm.partition("-")
    return {"arm": way, "share": float(share), "allowed": ALLOWED.get(float(share))}


def _cost(
    clean: Sequence[Floats], served: Sequence[Floats], clusters: Sequence[int]
) -> Mapping[str, Any]:
    """The wider of two intervals: over questions, clustered by policy, and over seeds."""
    lost = np.array(clean) - np.array(served)
    by_question = mean(lost.mean(axis=0), np.array(clusters))
    by_seed = mean(lost.mean(axis=1), np.arange(len(lost)))
    return {
        "cost": round(by_question.value, 4),
        "low": _finite(min(each.low(ALPHA) for each in (by_question, by_seed))),
        "high": _finite(max(each.high(ALPHA) for each in (by_question, by_seed))),
    }


def _finite(bound: float) -> float | None:
    """One seed has no spread."""
    return round(bound, 4) if np.isfinite(bound) else None


def _rounds(done: Sequence[Done], *, until: int) -> Mapping[str, int]:
    """Liars found in the last round, and honest sources that any round took for liars, in all seeds together."""
    rounds = [[each for each in one.played.rounds if each["events"] <= until] for one in done]
    return {
        "rounds": sum(map(len, rounds)),
        "caught": sum(each[-1]["caught"] for each in rounds if each),
        "accused": sum(one["accused"] for each in rounds for one in each),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning.poison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--world", choices=worlds.NAMES, default="handbook")
    parser.add_argument("--share", nargs="+", type=float, default=SHARES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--questions", type=int, help="so many of each side alone, to try it out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=FOLDER.with_suffix(".json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
