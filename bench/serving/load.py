"""`python -m bench.serving.load`: small requests beside large ones, and ten times more than the service can do.

1. capacity   a closed loop of mixed sizes: documents a second
2. mixed      an open loop at 70 % of it: nine requests of 10 documents for one of 200
   alone      the same small requests, at the same moments, without the large ones; blocks of both alternate
3. overload   an open loop at ten times capacity: how much is still answered, and how soon
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.serving import results, stack, versions
from bench.serving.measures import bootstrap, goodput, latencies, percentile, throughput
from bench.serving.stack import Stack
from bench.serving.traffic import (
    LARGE,
    LARGE_SHARE,
    SMALL,
    Answer,
    Closed,
    Generator,
    Mixed,
    Open,
    Outcome,
    generator,
)

logger = logging.getLogger("bench.serving.load")

UTILISATION: Final = 0.7
OVERLOAD: Final = 10.0
CALLERS: Final = 8
"""Of the closed loop: a queue that is never empty, and never deep."""
BLOCK_S: Final = 60.0
SETTLING_S: Final = 5.0
"""At the start of each block, when the queue is shorter than it will be: not counted."""
OVERLOAD_SETTLING: Final = 0.25
"""Share of the overload that is not counted: the first large ones are answered once the queue is as long as it gets."""
MEAN_DOCUMENTS: Final = (1 - LARGE_SHARE) * SMALL + LARGE_SHARE * LARGE
REFUSED: Final = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A running service, and the process that asks it."""

    service: Stack
    asking: Generator
    data: Path | None

    def open(self, load: Open) -> "Ran":
        with results.cores_used(self.service.pid) as cores:
            outcome = self.asking.start_open(self.service.url, load).result()
        return Ran(outcome=outcome, service_cores=cores())

    def closed(self, load: Closed) -> "Ran":
        with results.cores_used(self.service.pid) as cores:
            outcome = self.asking.start_closed(self.service.url, load).result()
        return Ran(outcome=outcome, service_cores=cores())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    outcome: Outcome
    service_cores: float

    @property
    def counted(self) -> list[Answer]:
        return [answer for answer in self.outcome.answers if answer.at_s >= SETTLING_S]

    def costs(self) -> dict[str, float]:
        """What both sides took, and how late the client was: it must be early and cheap for the rest to count."""
        late = [answer.late_s for answer in self.outcome.answers]
        return {
            "service_cores": round(self.service_cores, 2),
            "client_cores": round(self.outcome.client_cores, 3),
            "client_late_p99_ms": _ms(percentile(late, 0.99)),
        }


def capacity(bench: Bench, *, seconds: float) -> float:
    """Documents a second of mixed sizes."""
    load = Closed(shape=Mixed(), callers=CALLERS, seconds=seconds, seed=1, data=bench.data)
    answers = bench.closed(load).outcome.answers
    return throughput(answers, since_s=SETTLING_S, until_s=seconds)


def at(capacity: float, utilisation: float, *, data: Path | None) -> Callable[..., Open]:
    """An open loop of mixed sizes at this share of capacity; what it leaves open are its seconds and seeds."""
    requests_per_s = utilisation * capacity / MEAN_DOCUMENTS

    def load(*, seconds: float, seed: int, alone: bool = False, keep: bool = False) -> Open:
        return Open(
            small_per_s=requests_per_s * (1 - LARGE_SHARE),
            large_per_s=0.0 if alone else requests_per_s * LARGE_SHARE,
            seconds=seconds,
            arrivals=seed,
            texts=2 * seed + alone,
            data=data,
            keep=keep,
        )

    return load


def fairness(bench: Bench, capacity: float, *, minutes: float) -> dict[str, Any]:
    """Small requests beside large ones and alone, in turn."""
    load = at(capacity, UTILISATION, data=bench.data)
    mixed: list[Ran] = []
    alone: list[Ran] = []
    for number in range(max(1, round(minutes * 60 / BLOCK_S))):
        seconds = min(BLOCK_S, minutes * 60) + SETTLING_S
        # Whoever comes first, comes second the next time.
        for is_alone in (number % 2 == 1, number % 2 == 0):
            ran = bench.open(load(seconds=seconds, seed=100 + number, alone=is_alone))
            (alone if is_alone else mixed).append(ran)
            logger.info("%s %s", "alone" if is_alone else "mixed", _said(ran.counted))
    pairs = list(zip([ran.counted for ran in mixed], [ran.counted for ran in alone], strict=True))
    low, high = bootstrap(pairs, _ratio)
    return {
        "small_per_s": round(load(seconds=1, seed=0).small_per_s, 3),
        "large_per_s": round(load(seconds=1, seed=0).large_per_s, 3),
        "blocks": len(pairs),
        "mixed": _told(mixed),
        "alone": _told(alone),
        "p99_ratio": round(_ratio(pairs), 3),
        "p99_ratio_95": [round(low, 3), round(high, 3)],
    }


def overload(bench: Bench, capacity: float, *, seconds: float) -> dict[str, Any]:
    """Ten times more than it can do."""
    load = at(capacity, OVERLOAD, data=bench.data)
    ran = bench.open(load(seconds=seconds, seed=500))
    since_s = OVERLOAD_SETTLING * seconds
    answered = goodput(ran.outcome.answers, since_s=since_s, until_s=seconds)
    answers = [answer for answer in ran.outcome.answers if answer.at_s >= since_s]
    refused = [answer for answer in answers if answer.status == REFUSED]
    refused_s = [answer.latency_s for answer in refused]
    asked_to_wait = [answer.retry_after_s for answer in refused if answer.retry_after_s is not None]
    return {
        "requests": len(answers),
        "offered_documents_per_s": round(OVERLOAD * capacity, 1),
        "answered_documents_per_s": round(answered, 1),
        "goodput": round(answered / capacity, 3),
        "statuses": statuses(answers),
        "retry_after_s": {
            "missing": len(refused) - len(asked_to_wait),
            "min": min(asked_to_wait, default=None),
            "median": percentile(asked_to_wait, 0.5) if asked_to_wait else None,
            "max": max(asked_to_wait, default=None),
        },
        **{
            f"refused_p{share}_ms": _ms(percentile(refused_s, share / 100))
            for share in (50, 99)
            if refused_s
        },
        **{f"admitted_{name}": value for name, value in summary(answers).items()},
        "drained_after_s": round(ran.outcome.seconds - seconds, 1),
        **ran.costs(),
    }


def _ratio(pairs: Sequence[tuple[Sequence[Answer], Sequence[Answer]]]) -> float:
    """Of the small requests' 99th percentiles, beside large ones by alone."""
    mixed, alone = (
        [answer for block in side for answer in block] for side in zip(*pairs, strict=True)
    )
    return percentile(latencies(mixed, documents=SMALL), 0.99) / percentile(
        latencies(alone, documents=SMALL), 0.99
    )


def _told(ran: Sequence[Ran]) -> dict[str, Any]:
    answers = [answer for each in ran for answer in each.counted]
    costs = [each.costs() for each in ran]
    return {
        "requests": len(answers),
        "statuses": statuses(answers),
        **summary(answers),
        **{name: round(sum(each[name] for each in costs) / len(costs), 3) for name in costs[0]},
    }


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Latency by the size of the request, of those that were answered; a size of which none was is left out."""
    found: dict[str, Any] = {}
    for name, size in (("small", SMALL), ("large", LARGE)):
        each = latencies(answers, documents=size)
        if each:
            found[f"{name}_n"] = len(each)
            for share in (0.5, 0.9, 0.99):
                found[f"{name}_p{round(100 * share)}_ms"] = _ms(percentile(each, share))
    return found


def statuses(answers: Sequence[Answer]) -> dict[str, int]:
    """How many answers have each; 0 is that of no answer."""
    found = [answer.status for answer in answers]
    return {str(status): found.count(status) for status in sorted(set(found))}


def _said(answers: Sequence[Answer]) -> str:
    return ", ".join(f"{name} {value}" for name, value in summary(answers).items())


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of mixed load; as long alone")
    parser.add_argument("--capacity-seconds", type=float, default=90.0)
    parser.add_argument("--overload-seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    twins = versions.real()
    with (
        stack.running(twins.first, precision=arguments.precision) as service,
        generator() as asking,
    ):
        bench = Bench(service=service, asking=asking, data=arguments.data)
        able = capacity(bench, seconds=arguments.capacity_seconds)
        logger.info("capacity %.1f documents/s", able)
        found = {
            "precision": service.precision(),
            "capacity_documents_per_s": round(able, 1),
            "fairness": fairness(bench, able, minutes=arguments.minutes),
            "overload": overload(bench, able, seconds=arguments.overload_seconds),
        }
    logger.info("%s", found)
    results.write("load", found, options=arguments)


if __name__ == "__main__":
    main()
