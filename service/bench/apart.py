"""What runs in a process of its own: what may crash on a bad file, and what is asked how much memory it took."""

import asyncio
import resource
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from contract.artifact import ArtifactRejected, Manifest
from service.bench.requests import Prepared
from service.bench.rig import Rig
from service.bench.trial import Arm
from service.device import Runtime

P = ParamSpec("P")
T = TypeVar("T")

_STATUS: Final = Path("/proc/self/status")


def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What it returns or raises there.  Raises `ArtifactRejected` where the process crashed."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(work, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise ArtifactRejected("the version crashed a process that tried it") from error


def peak_bytes(
    folder: Path,
    manifest: Manifest,
    *,
    runtime: Runtime,
    arm: Arm,
    requests: Sequence[Prepared],
) -> int:
    """Resident memory at most of a process that loads the version and answers these requests."""
    with Rig(folder, manifest, runtime=runtime) as rig:
        asyncio.run(rig.score(arm, requests))
    return _own_peak()


def _own_peak() -> int:
    # On Linux `ru_maxrss` begins with the memory of the process that started this one.
    if _STATUS.exists():
        rows = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(rows["VmHWM"].removesuffix("kB")) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
