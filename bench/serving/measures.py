"""The arithmetic of load: percentiles, rates, slopes and whose score an answer holds."""

import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

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


def documents_per_s(answers: Iterable[Answer], *, since_s: float, until_s: float) -> float:
    """Documents of requests whose answers came in [since, until), a second."""
    counted = sum(
        answer.documents for answer in answers if answer.ok and since_s <= answer.done_s < until_s
    )
    return counted / (until_s - since_s)


def bootstrap(
    blocks: Sequence[Block], statistic: Callable[[Sequence[Block]], float]
) -> tuple[float, float]:
    """A 95 % interval of a statistic, by drawing whole blocks: what comes together is late together."""
    rng = random.Random(0)  # noqa: S311 -- a seeded draw, no secret
    found = [statistic(rng.choices(blocks, k=len(blocks))) for _ in range(RESAMPLES)]
    tail = (1 - INTERVAL) / 2
    return percentile(found, tail), percentile(found, 1 - tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A least-squares line."""

    slope: float
    standard_error: float
    """Of the slope, as if each point erred independently of the one before it."""


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The line through these points that errs least.

        y = a + slope x      slope = S_xy / S_xx      se^2 = sum residuals^2 / (n - 2) / S_xx

    Of fewer than three points the error, of fewer than two the slope is NaN.
    """
    n = len(x)
    if n < 2:  # noqa: PLR2004 -- two points make a line
        return Line(slope=math.nan, standard_error=math.nan)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((each - mean_x) ** 2 for each in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    left = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    error = math.sqrt(left / (n - 2) / spread) if n > 2 else math.nan  # noqa: PLR2004 -- as above
    return Line(slope=slope, standard_error=error)


def is_of_one_version(answer: Answer, version_of: Callable[[float], str]) -> bool:
    """Whether every score of the reply, and its header, are of the version that the reply names.

    version_of: the version whose logit that is.
    """
    reply = json.loads(answer.reply)
    named = reply["meta"]["version"]
    scored = {version_of(result["model_score"]) for result in reply["results"]}
    return scored == {named} and answer.version == named
