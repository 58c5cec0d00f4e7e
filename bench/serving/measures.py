"""The arithmetic of load: percentiles, rates, slopes, peaks of memory and whose score an answer holds."""

import json
import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import psutil
from scipy.stats import theilslopes

from bench.serving.traffic import Answer

Block = TypeVar("Block")

RESAMPLES: Final = 1_000
INTERVAL: Final = 0.95


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that so large a share does not exceed; NaN of nothing.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1] if ordered else math.nan


def latencies(answers: Iterable[Answer], *, documents: int | None = None) -> list[float]:
    """Of requests that were answered, of this size alone if one is named."""
    return [
        answer.latency_s
        for answer in answers
        if answer.ok and (documents is None or answer.documents == documents)
    ]


def goodput(answers: Iterable[Answer], *, since_s: float, until_s: float) -> float:
    """Documents of requests whose answers came in [since, until), a second."""
    counted = sum(
        answer.documents for answer in answers if answer.ok and since_s <= answer.done_s < until_s
    )
    return counted / (until_s - since_s)


def throughput(answers: Iterable[Answer], *, since_s: float, until_s: float) -> float:
    """Documents a second of a closed loop, from the first answer after `since` to the first one after `until`.

    What the first one took lies before, so that it counts for nothing. 0 where no two answers came.
    """
    done = sorted((answer.done_s, answer.documents) for answer in answers if answer.ok)
    moments = [done_s for done_s, _ in done]
    counted = done[bisect_left(moments, since_s) : bisect_left(moments, until_s) + 1]
    if len(counted) < 2:  # noqa: PLR2004 -- from one to another
        return 0.0
    return sum(documents for _, documents in counted[1:]) / (counted[-1][0] - counted[0][0])


def bootstrap(
    blocks: Sequence[Block], statistic: Callable[[Sequence[Block]], float]
) -> tuple[float, float]:
    """A 95 % interval of a statistic, by drawing whole blocks: what comes together is late together."""
    rng = random.Random(0)  # noqa: S311 -- a seeded draw, no secret
    found = [statistic(rng.choices(blocks, k=len(blocks))) for _ in range(RESAMPLES)]
    tail = (1 - INTERVAL) / 2
    return percentile(found, tail), percentile(found, 1 - tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How y grows with x, and the ends of a 95 % interval."""

    value: float
    low: float
    high: float


def slope(x: Sequence[float], y: Sequence[float]) -> Slope:
    """The median of the slopes between all pairs of points (Theil and Sen): one step up is no trend."""
    found = theilslopes(y, x, alpha=INTERVAL)
    return Slope(value=float(found.slope), low=float(found.low_slope), high=float(found.high_slope))


def is_of_one_version(answer: Answer, version_of: Callable[[float], str]) -> bool:
    """Whether every score of the reply, and its header, are of the version that the reply names.

    version_of: the version whose logit that is.
    """
    reply = json.loads(answer.reply)
    named = reply["meta"]["version"]
    scored = {version_of(result["model_score"]) for result in reply["results"]}
    return scored == {named} and answer.version == named


def peak_rss_mib(pid: int) -> float:
    """The most that was ever resident of a process, and of each of its children, as Linux counts it: their sum."""
    parent = psutil.Process(pid)
    return sum(
        status_mib(process.pid, "VmHWM") for process in [parent, *parent.children(recursive=True)]
    )


def status_mib(pid: int, name: str) -> float:
    """A field of Linux's process status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(each.split()[1]) / 1024 for each in lines if each.startswith(f"{name}:"))
