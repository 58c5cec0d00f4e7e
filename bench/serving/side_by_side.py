"""`python -m bench.serving.side_by_side`: ours and other rerankers on the same weights, in turn.

In each round every server gets the same request, new to all of them, in an order drawn anew; whoever is not asked is
idle. Ours is the whole service: HTTP, exploration and log. What the others' libraries do in process has no HTTP to pay.
"""

import logging
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import httpx
import numpy as np
import psutil

from bench.serving import peers, results, stack
from bench.serving.inside import MAX_LENGTH
from bench.serving.measures import bootstrap, peak_rss_mib
from bench.serving.peer_model import Layouts, layouts
from bench.serving.peers import PeerFailed, Server
from bench.serving.texts import Texts
from contract.artifact import TOKENIZER
from contract.tokens import PairTokenizer
from service.bench import look

logger = logging.getLogger("bench.serving.side_by_side")

OURS: Final = "Rankloop"
HEADLINE_ROUNDS: Final = 20
FEW_ROUNDS: Final = 5
PAUSE_S: Final = 0.2
"""Before each turn: whoever had the one before has put its threads to sleep by then."""
SAME: Final = 1e-3
"""Logits of the same float32 weights that differ by more are of other inputs."""
LOGNORMAL: Final = "lognormal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    documents: int
    tokens: int | None
    """Of each document; None draws them, 150 on average. A pair is cut at 512."""
    rounds: int

    @property
    def says(self) -> dict[str, Any]:
        return {"documents": self.documents, "tokens": self.tokens or LOGNORMAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one server did with one request."""

    seconds: float
    max_difference: float
    """Of its logits from our float32's."""
    overlap: float
    """Share of our float32's first ten that are among its own."""
    idle_cores: float
    """What everybody else took meanwhile."""


Round = Mapping[tuple[str, str], Turn]
"""By server and precision."""
OURS_FLOAT32: Final = (OURS, "float32")
OURS_INT8: Final = (OURS, "int8")


def cases(rounds: int) -> tuple[Case, ...]:
    few = min(rounds, FEW_ROUNDS)
    return (
        Case(documents=50, tokens=None, rounds=rounds),
        Case(documents=10, tokens=None, rounds=few),
        Case(documents=50, tokens=128, rounds=few),
        Case(documents=200, tokens=None, rounds=few),
        Case(documents=50, tokens=512, rounds=few),
    )


def play(
    servers: Sequence[Server], case: Case, texts: Texts, rng: random.Random
) -> dict[tuple[str, str], Turn]:
    """One round."""
    query, documents = texts.request(case.documents, case.tokens)
    replies, idle = {}, {}
    for server in rng.sample(servers, len(servers)):
        time.sleep(PAUSE_S)
        others = [each.pid for each in servers if each is not server]
        before, began_at = _cpu_s(others), time.monotonic()
        replies[_key(server)] = server.rank(query, documents)
        idle[_key(server)] = (_cpu_s(others) - before) / (time.monotonic() - began_at)
    exact = replies[OURS_FLOAT32].scores
    return {
        key: Turn(
            seconds=reply.seconds,
            max_difference=max(abs(a - b) for a, b in zip(reply.scores, exact, strict=True)),
            overlap=look.overlap([np.array(reply.scores)], [np.array(exact)]),
            idle_cores=idle[key],
        )
        for key, reply in replies.items()
    }


def rows(case: Case, servers: Sequence[Server], rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """One for each server, the fastest first."""
    found = [
        _row(case, server, [(each[_key(server)], each) for each in rounds]) for server in servers
    ]
    return sorted(found, key=lambda row: row["median_ms"])


def times(rounds: Sequence[Round], slow: tuple[str, str], fast: tuple[str, str]) -> dict[str, Any]:
    """How many times as long as the fast one the slow one takes, at the median, with a 95 % interval."""

    def ratio(drawn: Sequence[Round]) -> float:
        return _median(drawn, slow) / _median(drawn, fast)

    low, high = bootstrap(rounds, ratio)
    return {"times": round(ratio(rounds), 2), "times_95": [round(low, 2), round(high, 2)]}


def against_the_best(rounds: Sequence[Round]) -> dict[str, Any]:
    """Ours against the fastest of the peers that run float32; in int8, against those in int8 too."""
    best = _fastest(rounds, [(peer.name, peer.precision) for peer in peers.BEST_OF])
    best_int8 = _fastest(rounds, [(peer.name, peer.precision) for peer in peers.IN_INT8])
    return {
        "best_peer": None if best is None else best[0],
        "float32": None if best is None else times(rounds, best, OURS_FLOAT32),
        "int8": None if best is None else times(rounds, best, OURS_INT8),
        "best_int8_peer": None if best_int8 is None else best_int8[0],
        "int8_against_int8": None if best_int8 is None else times(rounds, best_int8, OURS_INT8),
    }


def _fastest(rounds: Sequence[Round], peers: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """None where none of them ran."""
    ran = [key for key in peers if key in rounds[0]]
    return min(ran, key=lambda key: _median(rounds, key), default=None)


def _row(case: Case, server: Server, turns: Sequence[tuple[Turn, Round]]) -> dict[str, Any]:
    own = [turn for turn, _ in turns]
    milliseconds = [1000 * turn.seconds for turn in own]
    difference = max(turn.max_difference for turn in own)
    return {
        "server": server.name,
        "precision": server.precision,
        **case.says,
        "transport": server.transport,
        "min_ms": round(min(milliseconds), 1),
        "median_ms": round(median(milliseconds), 1),
        "rounds": len(own),
        **times([each for _, each in turns], _key(server), OURS_FLOAT32),
        "max_difference": float(f"{difference:.2g}"),
        "same_scores": difference <= SAME,
        "top10_overlap": round(fmean(turn.overlap for turn in own), 3),
        "others_cores": round(median(turn.idle_cores for turn in own), 3),
    }


def _median(rounds: Sequence[Round], key: tuple[str, str]) -> float:
    return median(each[key].seconds for each in rounds)


def _key(server: Server) -> tuple[str, str]:
    return server.name, server.precision


def _cpu_s(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


@contextmanager
def ours(version: Path, precision: str) -> Iterator[Server]:
    """The whole service."""
    tokenizer = PairTokenizer.from_file(version / TOKENIZER, max_length=MAX_LENGTH)
    with (
        stack.running(version, precision=precision) as service,
        httpx.Client(timeout=peers.ASK_S, trust_env=False) as client,
    ):
        yield Server(
            name=OURS,
            says="this checkout",
            precision=service.precision(),
            transport="http",
            pid=service.pid,
            rank=peers.over_http(client, f"{service.url}/v1/rerank", score="model_score"),
            ids=lambda query, documents: [
                pair.ids.tolist() for pair in tokenizer.pairs(query, documents)
            ],
        )


def start(running: ExitStack, made: Layouts) -> tuple[list[Server], dict[str, str]]:
    """Everybody who starts, and why the others do not, by name and precision."""
    servers = [running.enter_context(ours(made.version, name)) for name in ("float32", "int8")]
    failed = {}
    for peer in (*peers.BEST_OF, *peers.BESIDE):
        try:
            servers.append(running.enter_context(peers.running(peer, made)))
        except PeerFailed as failure:
            logger.warning("%s: %s", peer.name, failure)
            failed[f"{peer.name}, {peer.precision}"] = str(failure)
    return servers, failed


def expect_same_ids(servers: Sequence[Server], texts: Texts) -> None:
    """Raises `PeerFailed` where a server reads other tokens than the first one."""
    for tokens in (None, 512):
        query, documents = texts.request(20, tokens)
        expected = servers[0].ids(query, documents)
        for server in servers[1:]:
            if server.ids(query, documents) != expected:
                raise PeerFailed(f"{server.name} reads other tokens")


def main() -> int:
    parser = results.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=HEADLINE_ROUNDS, help="of the first case")
    arguments = parser.parse_args()
    texts, rng = Texts(11, arguments.data), random.Random(11)  # noqa: S311 -- a seeded draw, no secret
    with ExitStack() as running:
        servers, failed = start(running, layouts())
        expect_same_ids(servers, texts)
        warm = Case(documents=10, tokens=None, rounds=2)
        for _ in range(warm.rounds):
            play(servers, warm, texts, rng)
        found: list[dict[str, Any]] = []
        ratios: list[dict[str, Any]] = []
        for case in cases(arguments.rounds):
            rounds = [play(servers, case, texts, rng) for _ in range(case.rounds)]
            found += rows(case, servers, rounds)
            ratios.append(case.says | against_the_best(rounds))
            logger.info("%s", ratios[-1])
            # After each case: a run that is stopped leaves those that it finished.
            summary = {
                "versions": {server.name: server.says for server in servers},
                "failed": failed,
                "against_the_best": ratios,
                "peak_rss_mib": {
                    ", ".join(_key(each)): round(peak_rss_mib(each.pid), 1) for each in servers
                },
                "rows": found,
            }
            results.write("summary", summary, options=arguments)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
