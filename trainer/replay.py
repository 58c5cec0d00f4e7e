"""Two models' greedy orders, read by the same reader: how much more are the answers from the one's documents worth.

Nothing is explored and no user sees it. A query whose used documents are the same under both models differs by 0 and
costs nothing. Where the budget does not reach for all, queries are taken in the order of their hash up to the first
that it cannot pay: which ones are left out has nothing to do with what they would have said.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract import plackett_luce
from contract.records import Candidate
from trainer.evidence import Scores

Value: TypeAlias = Callable[[str, Sequence[str]], float]
"""What the reader's answer to a query is worth, in [0, 1], when it reads these documents in this order.

Raises `Unanswered`.
"""


class Unanswered(Exception):
    """The reader gives no answer, however often it is asked; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of the gate split."""

    query: str
    candidates: tuple[Candidate, ...]
    used: int
    """k: how many documents the reader reads."""
    cluster: int
    """The query, as a number, or what else it has in common with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What the reader would read under each of the two models, best document first."""

    query: str
    champion: tuple[str, ...]
    candidate: tuple[str, ...]
    cluster: int

    @property
    def is_changed(self) -> bool:
        return self.champion != self.candidate

    @property
    def asks(self) -> dict[str, tuple[str, ...]]:
        """By name, the documents of each question to the reader; none where both are the same."""
        orders = (self.champion, self.candidate) if self.is_changed else ()
        return {_name(self.query, documents): documents for documents in orders}


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came out.  Shapes: P pairs."""

    difference: NDArray[np.float64]
    """(P,) value of the candidate's answer less that of the champion's."""
    cluster: NDArray[np.int64]
    """(P,)."""
    queries: int
    """Distinct ones."""
    changed: int
    """Queries among them whose used documents differ."""
    calls: int
    """How often the reader was asked."""
    unasked: int
    """Queries that the budget did not reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What shall be asked of whom, and how often at most."""

    pairs: Sequence[Pair]
    value: Value
    budget: int
    """Calls of `value`."""
    at_once: int = 1
    """Calls that wait for an answer at the same time."""
    known: MutableMapping[str, float] = field(default_factory=dict)
    """Values of earlier replays, by the hash of query and documents: they cost nothing, and what is new is added."""

    @property
    def calls_wanted(self) -> int:
        """How many calls all pairs would take."""
        return len({name for pair in self.pairs for name in pair.asks} - set(self.known))

    def play(self) -> Played:
        """Asks what is not known, as far as the budget reaches.  Raises `Unanswered`."""
        afforded = list(_afforded(self.pairs, set(self.known), budget=self.budget))
        asks = {
            name: (pair.query, documents)
            for pair in afforded
            for name, documents in pair.asks.items()
            if name not in self.known
        }
        with ThreadPoolExecutor(self.at_once) as pool:
            answered = pool.map(lambda ask: self.value(*ask), asks.values())
            for name, value in zip(asks, answered, strict=True):
                self.known[name] = value
        return Played(
            difference=np.array([self._difference(pair) for pair in afforded], dtype=np.float64),
            cluster=np.array([pair.cluster for pair in afforded], dtype=np.int64),
            queries=_queries(afforded),
            changed=_queries([pair for pair in afforded if pair.is_changed]),
            calls=len(asks),
            unasked=_queries(self.pairs) - _queries(afforded),
        )

    def _difference(self, pair: Pair) -> float:
        if not pair.is_changed:
            return 0.0
        champion, candidate = (self.known[name] for name in pair.asks)
        return candidate - champion


def pairs(requests: Iterable[Request], *, champion: Scores, candidate: Scores) -> list[Pair]:
    """The used documents of both models' greedy orders, by the files that serve."""
    return [
        Pair(
            query=request.query,
            champion=used(request, champion),
            candidate=used(request, candidate),
            cluster=request.cluster,
        )
        for request in requests
    ]


def used(request: Request, served: Scores) -> tuple[str, ...]:
    """The texts that the reader reads when this version serves, best first."""
    order = plackett_luce.greedy(served.logits(request.query, request.candidates))
    return tuple(request.candidates[at].text for at in order[: request.used])


def _afforded(pairs: Sequence[Pair], known: set[str], *, budget: int) -> Iterator[Pair]:
    paid: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: hashlib.sha256(pair.query.encode()).digest()):
        paid |= set(pair.asks) - known
        if len(paid) > budget:
            return
        yield pair


def _queries(pairs: Sequence[Pair]) -> int:
    return len({pair.query for pair in pairs})


def _name(query: str, documents: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([query, *documents]).encode()).hexdigest()
