"""`python -m bench.serving`: every part one after another, each in a process of its own; then tables and pictures.

    python -m bench.serving [--only NAME ...] [--data DIR] [--out DIR] [--rounds N]

A part that fails keeps none of the others from running; what failed is named at the end, which is then 1. What a
ranking is worth, only a real set says: without DIR, `quality` is left out.
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.serving import plots, results, tables

logger = logging.getLogger("bench.serving")

PARTS: Final = ("side_by_side", "quality", "overhead", "load", "swaps", "memory", "scaling")
IN_ROUNDS: Final = "side_by_side"
OF_A_REAL_SET: Final = "quality"


def main() -> int:
    options = _parser().parse_args()
    failed = [name for name in parts(options) if not _succeeds(command(name, options))]
    options.out.mkdir(parents=True, exist_ok=True)
    tables.write(options.out)
    plots.write(options.out)
    for name in failed:
        logger.error("%s failed", name)
    return 1 if failed else 0


def parts(options: argparse.Namespace) -> list[str]:
    """Those that were asked for and can run, in their order."""
    if options.data is None and OF_A_REAL_SET in options.only:
        logger.warning("%s is left out: it needs --data", OF_A_REAL_SET)
    return [
        name
        for name in PARTS
        if name in options.only and (options.data is not None or name != OF_A_REAL_SET)
    ]


def command(name: str, options: argparse.Namespace) -> Sequence[str | Path]:
    """Of one part, which takes what every part takes."""
    common = ["--out", options.out, "--precision", options.precision]
    data = ["--data", options.data] if options.data else []
    rounds = ["--rounds", str(options.rounds)] if name == IN_ROUNDS and options.rounds else []
    return [sys.executable, "-m", f"bench.serving.{name}", *common, *data, *rounds]


def _succeeds(command: Sequence[str | Path]) -> bool:
    logger.info("%s", " ".join(map(str, command[1:])))
    return subprocess.run(command, check=False).returncode == 0


def _parser() -> argparse.ArgumentParser:
    parser = results.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, help="of all servers, side by side")
    return parser


if __name__ == "__main__":
    sys.exit(main())
