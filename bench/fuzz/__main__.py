"""`python -m bench.fuzz` writes `bench/results/fuzz.json` and fails where it found something.

--requests N   how many at least; 50,000 take about a quarter of an hour on two cores
--seed N       where every draw starts
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.fuzz import dialects, generated, sockets, target
from bench.fuzz.tally import Tally
from bench.fuzz.target import Target

RESULTS: Final = Path(__file__).parents[1] / "results" / "fuzz.json"
REQUESTS: Final = 50_000
WARM_UP: Final = 1_000
"""Requests before memory is measured: what a service needs to run at all is there then, and it has met the largest
bodies that there are."""
MAX_GROWTH: Final = 1.25
"""Of resident memory, from then to the end."""
SAMPLE_S: Final = 1.0
SHARE_OF_SOCKETS: Final = 0.1
SHARE_OF_DIALECTS: Final = 0.3


@dataclass(slots=True, kw_only=True)
class Memory:
    """Resident memory while it is watched, in bytes."""

    target: Target
    start: int = 0
    peak: int = 0
    end: int = 0
    after: dict[str, int] = field(default_factory=dict)
    """By the kind of requests that came last."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.start = self.peak = self.target.rss_bytes()
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
        self.end = self.target.rss_bytes()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self.peak = max(self.peak, self.target.rss_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    start = time.monotonic()
    with target.running() as running, tempfile.TemporaryDirectory() as folder:
        result = attacked(running, Path(folder), requests=arguments.requests, seed=arguments.seed)
    result |= {
        "seconds": round(time.monotonic() - start),
        "seed": arguments.seed,
        "schemathesis": version("schemathesis"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "command": " ".join(["python -m bench.fuzz", *sys.argv[1:]]),
    }
    said = json.dumps(result, indent=1)
    arguments.out.write_text(said + "\n", encoding="utf-8")
    print(said)  # noqa: T201 -- what was asked for
    sys.exit(1 if result["findings"] else 0)


def attacked(running: Target, folder: Path, *, requests: int, seed: int) -> dict[str, Any]:
    """What came of at least so many requests, of every kind."""
    document, memory = running.document(), Memory(target=running)
    warm = sockets.attack(running, requests=min(WARM_UP, requests // 10) // 2, seed=seed)
    warm.add(
        dialects.attack(running, document, requests=min(WARM_UP, requests // 10) // 2, seed_=seed)
    )
    of_sockets, of_dialects = (
        round(requests * share) for share in (SHARE_OF_SOCKETS, SHARE_OF_DIALECTS)
    )
    rest = requests - of_sockets - of_dialects
    kinds: dict[str, Callable[[], Tally]] = {
        "sockets": lambda: sockets.attack(running, requests=of_sockets, seed=seed),
        "dialects": lambda: dialects.attack(
            running, document, requests=of_dialects, seed_=seed + 1
        ),
        "generated": lambda: generated.attack(running, folder, requests=rest, seed=seed),
    }
    tallies = {"warm_up": warm}
    with memory.watched():
        for kind, attack in kinds.items():
            tallies[kind] = attack()
            memory.after[kind] = running.rss_bytes()
        missing = requests - sum(tally.requests for tally in tallies.values())
        if missing > 0:
            tallies["more"] = dialects.attack(
                running, document, requests=missing + missing // 10 + 12, seed_=seed + 2
            )
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    for finding in _of_the_service(running, memory):
        total.find(finding)
    return {
        "requests": total.requests,
        "requests_by_kind": {kind: tally.requests for kind, tally in tallies.items()},
        "status_counts": dict(sorted(total.statuses.items())),
        "rss_start": memory.start,
        "rss_peak": memory.peak,
        "rss_after": memory.after,
        "rss_end": memory.end,
        "unsayable": dict(total.unsayable),
        "findings": total.findings,
    }


def _of_the_service(running: Target, memory: Memory) -> Iterator[str]:
    """What shows in the process and not in its answers."""
    if running.process.poll() is not None:
        yield f"the service ended with {running.process.returncode}"
    if memory.end > MAX_GROWTH * memory.start:
        yield f"resident memory grew from {memory.start} to {memory.end} bytes"
    for line in running.errors()[:5]:
        yield f"it logged: {line}"


if __name__ == "__main__":
    main()
