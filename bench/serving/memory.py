"""`python -m bench.serving.memory`: whether the service keeps memory that it should give back.

Requests of every shape, with swaps among them: 200,000 on a model of one layer, where everything around the model is
asked most often, and 10,000 on the real one. Memory is read between requests, once a swap is over and what it retired
was given back; the slope is what it grows by, after a warm-up, in MiB for 100,000 requests. Where the requests are few,
its interval is wide: `grown_mib` says what they came to.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.serving import results, stack, versions
from bench.serving.measures import peak_rss_mib, percentile, slope, status_mib
from bench.serving.stack import Stack
from bench.serving.traffic import Anything, Closed, Generator, Outcome, generator
from bench.serving.versions import Twins

logger = logging.getLogger("bench.serving.memory")

CALLERS: Final = 4
SAMPLES: Final = 5
"""From one swap to the next; what malloc keeps differs from one to the other by more than is looked for."""
WARM_UP: Final = 0.2
"""Share of the samples that no slope is of: caches fill meanwhile."""
POLL_S: Final = 1.0
"""How often the service looks for what to give back: five seconds are usual, and would only be waited for here."""
CACHE_BYTES: Final = 4 << 20
"""Of token ids: sixteen times less than usual, so that even few requests fill the cache within the warm-up."""
SETTINGS: Final = {
    "RANKLOOP_SERVICE_POLL_S": str(POLL_S),
    "RANKLOOP_SERVICE_TOKEN_CACHE_BYTES": str(CACHE_BYTES),
}
SETTLING_S: Final = 3 * POLL_S
SERVED_S: Final = 120.0
MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The service's memory in MiB after so many requests."""

    requests: int
    rss: float
    """Resident."""
    pss: float
    """The same, where a page that n processes share counts as an nth."""
    anonymous: float
    """Of the resident: what no file is behind, so what it allocated itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many requests of what shapes, and of which model."""

    twins: Twins
    precision: str
    requests: int
    swaps: int
    shape: Anything

    @property
    def at_once(self) -> int:
        """From one sample to the next."""
        return max(1, self.requests // (self.swaps * SAMPLES))


def measure(plan: Plan, asking: Generator, *, data: Path | None) -> dict[str, Any]:
    with stack.running(plan.twins.first, precision=plan.precision, settings=SETTINGS) as service:
        manifests = [service.store(version) for version in (plan.twins.second, plan.twins.first)]
        samples: list[Sample] = []
        failed, took_s = 0, 0.0
        for number in range(plan.swaps):
            served = service.promote(manifests[number % 2])
            for part in range(SAMPLES):
                outcome = _ask(service, asking, plan, seed=len(samples), data=data)
                failed += sum(not answer.ok for answer in outcome.answers)
                took_s += outcome.seconds
                if part == 0:
                    _settle(service, served.epoch)
                requests = (len(samples) + 1) * plan.at_once
                samples.append(_sample(service.pid, requests=requests))
            logger.info("%s", samples[-1])
        return {
            "settings": SETTINGS,
            "precision": service.precision(),
            "requests": samples[-1].requests,
            "failed": failed,
            "requests_per_s": round(samples[-1].requests / took_s, 1),
            "swaps": plan.swaps,
            "shape": asdict(plan.shape),
            **growth(samples),
            "peak_rss_mib": round(peak_rss_mib(service.pid), 1),
            "samples": [asdict(sample) for sample in samples],
        }


def _ask(service: Stack, asking: Generator, plan: Plan, *, seed: int, data: Path | None) -> Outcome:
    asked = Closed(
        shape=plan.shape,
        callers=CALLERS,
        requests=plan.at_once,
        seed=seed,
        data=data,
    )
    return asking.start_closed(service.url, asked).result()


def _settle(service: Stack, epoch: int) -> None:
    """Until that epoch is served, and what it retired was given back."""
    deadline = time.monotonic() + SERVED_S
    while service.epoch() != epoch:
        if time.monotonic() > deadline:
            raise TimeoutError(f"epoch {epoch} was not served within {SERVED_S:.0f} s")
        time.sleep(0.1)
    time.sleep(SETTLING_S)


def _sample(pid: int, *, requests: int) -> Sample:
    full = psutil.Process(pid).memory_full_info()
    return Sample(
        requests=requests,
        rss=round(full.rss / MIB, 2),
        pss=round(full.pss / MIB, 2),
        anonymous=round(status_mib(pid, "RssAnon"), 2),
    )


def growth(samples: Sequence[Sample]) -> dict[str, Any]:
    """After the warm-up: MiB for 100,000 requests, and what the last fifth of the samples has over the first."""
    warm = samples[round(WARM_UP * len(samples)) :]
    fifth = max(1, len(warm) // 5)
    requests = [sample.requests / 1e5 for sample in warm]
    found: dict[str, Any] = {}
    for name in ("rss", "anonymous"):
        taken = [getattr(sample, name) for sample in warm]
        fitted = slope(requests, taken)
        ends = percentile(taken[-fifth:], 0.5) - percentile(taken[:fifth], 0.5)
        found[name] = {
            "slope_mib_per_100k": round(fitted.value, 3),
            "slope_95": [round(fitted.low, 3), round(fitted.high, 3)],
            "grown_mib": round(ends, 2),
        }
    return found


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="on the model of one layer")
    parser.add_argument("--real-requests", type=int, default=10_000, help="on the real model")
    parser.add_argument("--swaps", type=int, default=50, help="of each")
    arguments = parser.parse_args()
    plans = {
        # Of one layer there is no int8: with random weights, it would not rank as float32 does.
        "one_layer": Plan(
            twins=versions.one_layer(),
            precision="float32",
            requests=arguments.requests,
            swaps=arguments.swaps,
            shape=Anything(most_documents=8, most_tokens=256),
        ),
        "real": Plan(
            twins=versions.real(),
            precision=arguments.precision,
            requests=arguments.real_requests,
            swaps=arguments.swaps,
            shape=Anything(most_documents=8),
        ),
    }
    found = {}
    with generator() as asking:
        for name, plan in plans.items():
            if plan.requests:
                found[name] = measure(plan, asking, data=arguments.data)
                logger.info("%s %s", name, {k: v for k, v in found[name].items() if k != "samples"})
    results.write("memory", found, options=arguments)


if __name__ == "__main__":
    main()
