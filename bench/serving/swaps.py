"""`python -m bench.serving.swaps`: fifty swaps under load, and whether anybody noticed.

Two real versions take turns while mixed requests arrive at 70 % of capacity. Their scores can be told apart for any
text (`bench.serving.versions`), so that every score of every answer says whose it is; fixed probes must also have
exactly the scores that their version gave them while nothing else ran. "Near a swap" is from the moment it was
published, so that loading and warming the version count too.
"""

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from bench.serving import load, results, stack, versions
from bench.serving.load import Bench
from bench.serving.measures import bootstrap, is_of_one_version, latencies, percentile
from bench.serving.stack import Stack
from bench.serving.texts import Texts
from bench.serving.traffic import SMALL, Answer, Outcome, generator
from bench.serving.versions import Twins

logger = logging.getLogger("bench.serving.swaps")

NEAR_S: Final = 10.0
BIN_S: Final = 2.0
"""How finely latency is told by the time since the last swap."""
PROBE_S: Final = 1.0
TOLERANCE: Final = 1e-4
"""Of a logit beside other pairs; the versions differ by 64."""
SERVED_S: Final = 120.0
SERVED: Final = re.compile(r"swap\.served .* in_s=([\d.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request, and what each version says of it when it is alone."""

    url: str
    asked: Mapping[str, Any]
    known: dict[str, list[float]] = field(default_factory=dict)

    def learn(self, version: str) -> None:
        """Waits until this version answers."""
        deadline = time.monotonic() + SERVED_S
        while (found := self._ask())[0] != version:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{version} was not served within {SERVED_S:.0f} s")
            time.sleep(PROBE_S / 10)
        self.known[version] = found[1]

    def is_right(self) -> bool:
        version, scores = self._ask()
        return all(
            math.isclose(found, known, rel_tol=0, abs_tol=TOLERANCE)
            for found, known in zip(scores, self.known[version], strict=True)
        )

    def _ask(self) -> tuple[str, list[float]]:
        """The version, and the scores in the order of the request."""
        reply = httpx.post(f"{self.url}/v1/rerank", json=self.asked, timeout=60, trust_env=False)
        said = reply.raise_for_status().json()
        ordered = sorted(said["results"], key=lambda result: int(result["index"]))
        return str(said["meta"]["version"]), [result["model_score"] for result in ordered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What happened from outside."""

    at: Sequence[float]
    """When each swap was published, by the monotonic clock."""
    probes: int
    wrong: int
    """Of the probes."""


def measure(
    bench: Bench, capacity: float, twins: Twins, *, swaps: int, every_s: float
) -> dict[str, Any]:
    probe = _taught(bench, twins)
    seconds = (swaps + 1) * every_s
    asked = load.at(capacity, load.UTILISATION, data=bench.data)(
        seconds=seconds, seed=300, keep=True
    )
    with results.cores_used(bench.service.pid) as cores:
        answering = bench.asking.start_open(bench.service.url, asked)
        swapped = _swap(bench.service, probe, twins, swaps=swaps, every_s=every_s)
        outcome = answering.result()
    return {
        "swaps": swaps,
        "every_s": every_s,
        **_found(outcome, swapped, twins, every_s=every_s),
        "service_cores": round(cores(), 2),
        "client_cores": round(outcome.client_cores, 3),
    }


def _taught(bench: Bench, twins: Twins) -> Probe:
    """The second version is learned first: the first one then serves when the load begins."""
    query, documents = Texts(999, bench.data).request(SMALL, None)
    asked = {"query": query, "documents": documents, "raw_scores": True}
    probe = Probe(url=bench.service.url, asked=asked)
    for version in (twins.second, twins.first):
        probe.learn(bench.service.publish(version).version)
    return probe


def _swap(service: Stack, probe: Probe, twins: Twins, *, swaps: int, every_s: float) -> Swapped:
    """Both are in the store already: publishing costs next to nothing on this machine."""
    manifests = [service.store(version) for version in (twins.second, twins.first)]
    at: list[float] = []
    right: list[bool] = []
    due = time.monotonic()
    for number in range(swaps):
        due += every_s
        while time.monotonic() < due - PROBE_S:
            right.append(probe.is_right())
            time.sleep(PROBE_S)
        time.sleep(max(0.0, due - time.monotonic()))
        at.append(time.monotonic())
        service.promote(manifests[number % 2])
        logger.info("swap %d of %d", number + 1, swaps)
    return Swapped(at=at, probes=len(right), wrong=right.count(False))


def _found(outcome: Outcome, swapped: Swapped, twins: Twins, *, every_s: float) -> dict[str, Any]:
    answers = outcome.answers
    starts = [at - outcome.began_at for at in swapped.at]
    cycles = [_cycle(answers, start, every_s=every_s) for start in starts]
    whose = partial(versions.of_logit, twins=twins)
    answered = [answer for answer in answers if answer.ok]
    low, high = bootstrap(cycles, _ratio)
    near, far = (
        [answer for cycle in side for answer in cycle] for side in zip(*cycles, strict=True)
    )
    return {
        "requests": len(answers),
        "failed": len(answers) - len(answered),
        "statuses": load.statuses(answers),
        "mixed_versions": sum(not is_of_one_version(answer, whose) for answer in answered),
        "probes": swapped.probes,
        "wrong_probes": swapped.wrong,
        "near_s": NEAR_S,
        "near": load.summary(near),
        "far": load.summary(far),
        "p99_ratio": round(_ratio(cycles), 3),
        "p99_ratio_95": [round(low, 3), round(high, 3)],
        "since_swap": _since_swap(answers, starts, every_s=every_s),
    }


Cycle = tuple[Sequence[Answer], Sequence[Answer]]
"""Answers near a swap, and those between it and the next one."""


def _cycle(answers: Sequence[Answer], start_s: float, *, every_s: float) -> Cycle:
    since = [answer for answer in answers if start_s <= answer.at_s < start_s + every_s]
    return (
        [answer for answer in since if answer.at_s < start_s + NEAR_S],
        [answer for answer in since if answer.at_s >= start_s + NEAR_S],
    )


def _ratio(cycles: Sequence[Cycle]) -> float:
    """Of the small requests' 99th percentiles, near by far."""
    near, far = (
        [answer for cycle in side for answer in cycle] for side in zip(*cycles, strict=True)
    )
    return percentile(latencies(near, documents=SMALL), 0.99) / percentile(
        latencies(far, documents=SMALL), 0.99
    )


def _since_swap(
    answers: Sequence[Answer], starts: Sequence[float], *, every_s: float
) -> list[dict[str, Any]]:
    """Small requests by the time from the last swap's publication to their own arrival."""
    return [
        {
            "since_s": number * BIN_S,
            **load.summary(
                [
                    answer
                    for start in starts
                    for answer in answers
                    if number * BIN_S <= answer.at_s - start < min((number + 1) * BIN_S, every_s)
                ]
            ),
        }
        for number in range(math.ceil(every_s / BIN_S))
    ]


def served_in_s(log: Path) -> list[float]:
    """How long the service took for each version that it has served, as its log says."""
    return [float(found) for found in SERVED.findall(log.read_text(encoding="utf-8"))]


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--every", type=float, default=24.0, help="seconds between two swaps")
    parser.add_argument("--capacity-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    twins = versions.real()
    with (
        stack.running(twins.first, precision=arguments.precision) as service,
        generator() as asking,
    ):
        bench = Bench(service=service, asking=asking, data=arguments.data)
        able = load.capacity(bench, seconds=arguments.capacity_seconds)
        logger.info("capacity %.1f documents/s", able)
        found = {
            "precision": service.precision(),
            "capacity_documents_per_s": round(able, 1),
            **measure(bench, able, twins, swaps=arguments.swaps, every_s=arguments.every),
        }
        took = served_in_s(service.log)[-arguments.swaps :]
        found["served_in_s"] = {
            "n": len(took),
            "median": percentile(took, 0.5),
            "max": max(took, default=None),
        }
    logger.info("%s", found)
    results.write("swaps", found, options=arguments)


if __name__ == "__main__":
    main()
