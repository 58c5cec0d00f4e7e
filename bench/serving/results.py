"""What every bench here takes from its command line, and where its results go."""

import argparse
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import onnxruntime
import psutil

from contract import environment
from service.settings import Precision

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "bench" / "results" / "serving"
SQUAD: Final = ROOT.parent / "shared" / "data" / "squad"
"""Where it lies beside a checkout."""


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--data",
        type=Path,
        default=SQUAD if SQUAD.is_dir() else None,
        help="a folder in the form of SQuAD's; by default ../shared/data/squad beside the checkout if it is there, "
        "else the texts are the handbook's",
    )
    made.add_argument("--precision", default="auto", choices=[*map(str, Precision)])
    made.add_argument("--out", type=Path, default=FOLDER, help="the folder of the results")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    at_start()
    for loud in ("alembic", "httpx", "matplotlib"):
        logging.getLogger(loud).setLevel(logging.WARNING)
    return made


def write(name: str, found: Mapping[str, Any], *, options: argparse.Namespace) -> None:
    """`NAME.json`: what was found, and on what, by which code, how, with which texts, and in how many seconds.

    options: of `parser`.
    """
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    began_at = psutil.Process().create_time()
    whole = {
        "machine": machine(),
        **at_start(),
        "command": command(),
        "texts": options.data.name if options.data else "handbook",
        "seconds": round(time.time() - began_at),
        **found,
    }
    (folder / f"{name}.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the numbers are of."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": environment.cores(),
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def command() -> str:
    """What was typed; a folder is of one machine, so it is not named."""
    arguments = ["DIR" if os.sep in each else each for each in sys.argv[1:]]
    return shlex.join(["python", "-m", f"bench.serving.{Path(sys.argv[0]).stem}", *arguments])


@cache
def at_start() -> dict[str, Any]:
    """What was so when this was first called: the checkout moves on, and what is measured is a load itself."""
    return {"commit": commit(), "load_before": round(os.getloadavg()[0], 2)}


def commit() -> str:
    """Of the checkout, with a `+` where its code is another; earlier results are no code."""
    head = _git("rev-parse", "--short", "HEAD").strip()
    changed = _git("status", "--porcelain", "--", ".", ":!bench/results").strip()
    return f"{head}+" if changed else head


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@contextmanager
def cores_used(pid: int) -> Iterator[Callable[[], float]]:
    """How many cores a process took on average, its children included, from here to the end."""
    process = psutil.Process(pid)
    before, started_at = _cpu_s(process), time.monotonic()
    found: list[float] = []
    yield lambda: found[0]
    found.append((_cpu_s(process) - before) / (time.monotonic() - started_at))


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:4]))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
