"""Is a change in mid-run followed? The reader is swapped, or the retriever, while the line learns.

    python -m bench.learning.change [--seeds 5] [--before 4000] [--after 2000] [--threads 1]

reader         before, one that passes superseded texts over by itself; then the handbook's, who believes what comes
               first; the app says which one answered
reader-untold  the same where the app does not say
retriever      before, cosines of a bi-encoder; then BM25: other candidates, in another order, with other scores
from-start     the same events without a change: the handbook, as all end in

Every run is measured on the handbook's held-out questions. Each is a file under `bench/results/learning/change`, so
that a stopped run goes on; `change.json` says how far behind the changed runs are, paired by question and seed.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from bench.start import BiEncoder
from examples.demo import worlds as demo
from examples.handbook import world as handbook_world
from trainer.examples import Example

logger = logging.getLogger("bench.learning.change")


def careful(world: World) -> World:
    """The same where the reader passes over what would answer wrongly, and reads on."""

    def read_with_care(question: Question) -> Question:
        return replace(
            question, worth=tuple(None if worth == 0.0 else worth for worth in question.worth)
        )

    return replace(
        world,
        train=tuple(map(read_with_care, world.train)),
        held_out=tuple(map(read_with_care, world.held_out)),
    )


def handbook_by_cosine() -> World:
    """The handbook with another first stage: its own starting weights as a bi-encoder, cosines as scores."""
    passages = handbook_world.load().passages
    encoder = BiEncoder()
    embedded_PE = encoder.embed([passage.text for passage in passages])

    def found(ask: demo.Ask) -> demo.Ask:
        cosines = embedded_PE @ encoder.embed([ask.text])[0]
        nearest = np.argsort(-cosines, kind="stable")[: demo.CANDIDATES].tolist()
        return replace(
            ask,
            documents=tuple(
                demo.Document(id=passages[at].id, text=passages[at].text, score=float(cosines[at]))
                for at in nearest
            ),
        )

    world = demo.handbook()
    searched = replace(
        world, train=tuple(map(found, world.train)), held_out=tuple(map(found, world.held_out))
    )
    return worlds.of_demo(searched, discounted=False)


FROM_START: Final = "from-start"
BEFORE: Final[Mapping[str, Callable[[], World]]] = {
    "reader": lambda: replace(careful(worlds.handbook()), reader="careful"),
    "reader-untold": lambda: careful(worlds.handbook()),
    "retriever": handbook_by_cosine,
}
LOOKS: Final = (0, 500, 1_000, 1_500, 2_000)
"""Events after the change."""
ALLOWED: Final = 0.02
CACHE_BYTES: Final = 6 << 30
FOLDER: Final = cells.FOLDER.parent / "change"


@dataclass(kw_only=True)
class Changing(Loop):
    """A loop that another world answers from some event on."""

    then: World
    since: int

    def answered(
        self, question: Question, *, number: int, rng: np.random.Generator
    ) -> Example | None:
        """The same questions are asked before and after."""
        if number == self.since:
            self.world = self.then
            question = next(each for each in self.then.train if each.id == question.id)
        return super().answered(question, number=number, rng=rng)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    then = replace(worlds.handbook(), reader="the handbook's")
    missing = [cell for cell in _asked(options) if not cell.path(options.cells).exists()]
    if missing:
        studio = Studio(max_bytes=CACHE_BYTES)
        for cell in missing:
            _play(cell, then, studio, since=options.before, folder=options.cells)
    numbers = {question.cluster: at for at, question in enumerate(then.held_out)}
    clusters = [numbers[question.cluster] for question in then.held_out]
    rows = list(behind([*cells.done(options.cells)], clusters=clusters, since=options.before))
    lines = ",\n".join(json.dumps(row) for row in rows)
    options.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return 0


def _asked(options: argparse.Namespace) -> Iterator[Cell]:
    events = options.before + options.after
    for seed in range(1, options.seeds + 1):
        for arm in (FROM_START, *options.change):
            yield Cell(world="handbook", arm=arm, seed=seed, events=events)


def _play(cell: Cell, then: World, studio: Studio, *, since: int, folder: Path) -> None:
    begun = time.monotonic()
    before = BEFORE[cell.arm]() if cell.arm in BEFORE else then
    loop = Changing(
        world=before,
        arm=ARMS["ours"],
        studio=studio,
        seed=cell.seed,
        champion=studio.start,
        then=then,
        since=since,
    )
    done = Done(cell=cell, played=follow(loop, events=cell.events, judged_in=then))
    done.write(cell.path(folder))
    logger.info(
        "%s seed %d: %s, in %.0f s",
        *(cell.arm, cell.seed),
        " ".join(f"{each.since}:{each.values.mean():.4f}" for each in done.played.served),
        time.monotonic() - begun,
    )


def behind(
    done: Sequence[Done], *, clusters: Sequence[int], since: int
) -> Iterator[dict[str, Any]]:
    """A row for each change and look: what the run is worth, and how much more one that had it from the start."""
    runs = {(each.cell.arm, each.cell.seed): each.played for each in done}
    for arm in sorted({arm for arm, _ in runs} - {FROM_START}):
        seeds = [
            seed for of_arm, seed in sorted(runs) if of_arm == arm and (FROM_START, seed) in runs
        ]
        for look in LOOKS:
            ours, theirs = (
                [runs[name, seed].at(since + look).values for seed in seeds]
                for name in (arm, FROM_START)
            )
            yield {
                "change": arm,
                "events_after": look,
                "seeds": len(seeds),
                "start": round(float(runs[FROM_START, seeds[0]].at(0).values.mean()), 4),
                "value": round(float(np.mean(ours)), 4),
                "from_start": round(float(np.mean(theirs)), 4),
                **_told(theirs, ours, clusters),
                "allowed": ALLOWED,
            }


def _told(
    theirs: Sequence[Floats], ours: Sequence[Floats], clusters: Sequence[int]
) -> dict[str, Any]:
    lost = np.array(theirs) - np.array(ours)
    found = summary.gain(theirs, np.mean(ours, axis=0), clusters=clusters)
    return {
        "behind": round(found.value, 4),
        "low": round(found.low(summary.ALPHA), 4),
        "high": round(found.high(summary.ALPHA), 4),
        "of_each_seed": lost.mean(axis=1).round(4).tolist(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning.change",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--change", nargs="+", choices=BEFORE, default=tuple(BEFORE))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--before", type=int, default=4000, help="events before the change")
    parser.add_argument("--after", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=FOLDER.with_suffix(".json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
