"""Plays what has not been played yet, and sums up all that has.

    python -m bench.learning --data DIR [--world reader handbook plain stale] [--arm ours frozen ...]
        [--seeds 5] [--events 4000] [--threads 2]

DIR holds `squad`, `fairytaleqa` and, without a table of `bench.reader_table`, `reader`. Each world, arm and seed is a
file under `bench/results/learning/cells`; beside that folder, `summary.json` has a row for each version that was
served, `gains.json` compares each arm with the start, paired by question, all its seeds together, and `WORLD.png`
draws that.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from bench.learning import cells, others, summary, worlds
from bench.learning.arms import ARMS
from bench.learning.cells import Cell
from bench.learning.studio import Studio

logger = logging.getLogger("bench.learning")

ARMS_OF_ALL: Final = (*others.RULES, "ours", "fusion-weights", *cells.SUPERVISED)
CACHE_BYTES: Final = 4 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    torch.set_num_threads(options.threads)
    for name in options.world:
        missing = [cell for cell in _asked(name, options) if not cell.path(options.cells).exists()]
        for unfused in (False, True):
            _play([each for each in missing if _is_unfused(each) is unfused], options, unfused)
    summary.write(options.cells, options.out)
    return 0


def _asked(world: str, options: argparse.Namespace) -> Iterator[Cell]:
    for seed in range(1, options.seeds + 1):
        for arm in options.arm:
            if arm in others.RULES:
                yield Cell(world=world, arm=arm, seed=0, events=0)
            else:
                yield Cell(world=world, arm=arm, seed=seed, events=options.events)


def _is_unfused(cell: Cell) -> bool:
    return cell.arm in ARMS and ARMS[cell.arm].unfused


def _play(missing: Sequence[Cell], options: argparse.Namespace, unfused: bool) -> None:  # noqa: FBT001 -- the caller's loop names it
    if not missing:
        return
    world = worlds.load(missing[0].world, options.data)
    summary.note(options.cells, missing[0].world, world.held_out)
    studio = Studio(max_bytes=CACHE_BYTES, unfused=unfused)
    logger.info("%s: %d questions, %d held out", world.name, len(world.train), len(world.held_out))
    for cell in dict.fromkeys(missing):
        begun = time.monotonic()
        done = cells.played(cell, world, studio)
        done.write(cell.path(options.cells))
        last = done.played.served[-1]
        logger.info(
            "%s %s seed %d: %.4f after %d rounds, %d promoted, in %.0f s",
            *(cell.world, cell.arm, cell.seed, last.values.mean(), len(done.played.rounds)),
            *(len(done.played.served) - 1, time.monotonic() - begun),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arms = [*others.RULES, *cells.SUPERVISED, *ARMS]
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--world", nargs="+", default=worlds.NAMES)
    parser.add_argument("--arm", nargs="+", choices=arms, default=ARMS_OF_ALL)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", type=Path, default=cells.FOLDER)
    parser.add_argument("--out", type=Path, default=cells.FOLDER.parent)
    return parser


if __name__ == "__main__":
    sys.exit(main())
