"""Which sources say the opposite of what all others say of the same documents: they teach nothing in this round.

Of a source's i-th reward let e_i be the surprise (the reward less what was to be expected before acting, centred over
the source's own rewards) and m_i what the others say of the documents that made the answer: the sum of their surprises
about each document over their number + 2, and the mean of that over the documents. With b, the slope of e on m over
all sources (at least 0),

    suspected   sum_i (e_i + b/2 m_i) m_i < 0           it is nearer to the opposite of what they say than to nothing
    and         sum_i (e_i - b m_i) m_i << 0            and further from what they say than an honest source by chance

by a t test clustered by query, in which Benjamini and Hochberg (1995) hold the share of false alarms at 1 % over all
sources of the round. What is suspected no longer counts among the others, and the rest is asked again. A source that
is only harsh or lenient is not suspected: a constant teaches nothing, as the gradient of a constant is 0 on average.

Shapes: B examples, P pairs of an example and a document of it, D documents, R rewards of one source.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, t

from trainer import steps
from trainer.examples import Example, Origin
from trainer.splits import cluster

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

LEVEL: Final = 0.01
"""Of false alarms; `tests/unit/trainer/test_agreement.py` simulates rounds of honest sources."""
MIN_REWARDS: Final = 20
"""Of documents that others spoke of too, about as many queries: fewer show nothing."""
PRIOR: Final = 2.0
"""Rewards without surprise that every document begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A source that goes against the others."""

    origin: Origin
    slope: float
    """Of its surprises on what the others say; they would be alike at `others`."""
    others: float
    t: float
    rewards: int

    @property
    def reason(self) -> str:
        return (
            f"its rewards go against what others say of the same documents: slope {self.slope:+.2f} where"
            f" sources have {self.others:+.2f}, t = {self.t:.1f} over {self.rewards} rewards"
        )

    def to_json(self) -> dict[str, Any]:
        return {**self.origin._asdict(), "reason": self.reason}


def suspects(examples: Sequence[Example]) -> list[Suspect]:
    """Those that a round is to leave out."""
    origins = {origin for example in examples for origin in example.origins}
    if len(origins) <= 1:
        return []
    table = _Table.of(examples)
    found: list[Suspect] = []
    while more := _found(table, without={each.origin for each in found}):
        found += more
    return found


def believed(examples: Sequence[Example], found: Sequence[Suspect]) -> list[Example]:
    """The examples in which no suspect has a say."""
    silent = {each.origin for each in found}
    return [example for example in examples if not example.origins & silent]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    reward_B: Floats
    surprise_B: Floats
    query_B: Whole
    example_P: Whole
    document_P: Whole
    rows: Mapping[Origin, Whole]
    """Of each source, which examples are of it."""

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Self:
        numbers: dict[str, int] = {}
        pairs = [
            (at, numbers.setdefault(text, len(numbers)))
            for at, example in enumerate(examples)
            for text in _documents(example)
        ]
        rows = defaultdict(list)
        for at, example in enumerate(examples):
            for origin in sorted(example.origins):
                rows[origin].append(at)
        example_P, document_P = np.array(pairs, dtype=np.int64).T
        reward_B = np.array([each.reward for each in examples])
        return cls(
            reward_B=reward_B,
            surprise_B=reward_B - steps.expected(examples),
            query_B=np.array([cluster(each.query_sha256) for each in examples]),
            example_P=example_P,
            document_P=document_P,
            rows={origin: np.array(of_it) for origin, of_it in sorted(rows.items())},
        )

    def sums(self, counts_B: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Over the examples that count: (D,) surprises about each document, (D,) how many."""
        pairs = counts_B[self.example_P]
        documents, size = self.document_P[pairs], self.document_P.max() + 1
        surprises = self.surprise_B[self.example_P[pairs]]
        numbers = np.bincount(documents, minlength=size).astype(np.float64)
        return np.bincount(documents, surprises, size).astype(np.float64), numbers

    def says_enough(self, rows_B: NDArray[np.bool_]) -> bool:
        """Whether these are rewards of enough queries, and not always the same reward."""
        is_constant = len(np.unique(self.reward_B[rows_B])) <= 1
        return not is_constant and len(np.unique(self.query_B[rows_B])) >= MIN_REWARDS

    def of_any(self, origins: Iterable[Origin]) -> NDArray[np.bool_]:
        """(B,) which examples one of these has a say in."""
        of_any_B = np.zeros(len(self.surprise_B), dtype=bool)
        for origin in origins:
            of_any_B[self.rows[origin]] = True
        return of_any_B


def _documents(example: Example) -> set[str]:
    """Those that made the answer: the cited ones of the used, else all that were used."""
    used = example.decision.choice.shown[: example.used].tolist()
    cited = [position for position in used if position in example.cited]
    return {example.decision.candidates[position].text for position in cited or used}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """A source's rewards of documents that others spoke of."""

    origin: Origin
    surprise_R: Floats
    others_R: Floats
    query_R: Whole

    @property
    def along(self) -> float:
        return float(self.surprise_R @ self.others_R)

    @property
    def length(self) -> float:
        return float(self.others_R @ self.others_R)

    @property
    def slope(self) -> float:
        return self.along / self.length

    def test(self, slope: float) -> tuple[float, float]:
        """Whether it agrees less than by that slope: t, and the probability of one so low."""
        off_R = (self.surprise_R - slope * self.others_R) * self.others_R
        _, place_R = np.unique(self.query_R, return_inverse=True)
        off_Q = np.bincount(place_R, off_R)
        if not off_Q.any():
            return 0.0, 1.0
        score = off_Q.sum() / np.sqrt((off_Q**2).sum())
        return float(score), float(t.cdf(score, len(off_Q) - 1))


def _found(table: _Table, *, without: Collection[Origin]) -> list[Suspect]:
    records = list(_records(table, without=without))
    if not records:
        return []
    slope = max(0.0, sum(each.along for each in records) / sum(each.length for each in records))
    tests = [each.test(slope) for each in records]
    against = np.array(
        [p if each.slope < -slope / 2 else 1.0 for each, (_, p) in zip(records, tests, strict=True)]
    )
    return [
        Suspect(
            origin=record.origin,
            slope=record.slope,
            others=slope,
            t=score,
            rewards=len(record.surprise_R),
        )
        for record, (score, _), p in zip(
            records, tests, false_discovery_control(against), strict=True
        )
        if p <= LEVEL
    ]


def _records(table: _Table, *, without: Collection[Origin]) -> Iterator[_Record]:
    """Of the sources that are left and have enough to be asked about."""
    counts_B = ~table.of_any(without)
    total_D, number_D = table.sums(counts_B)
    for origin in table.rows:
        own_B = table.of_any([origin]) & counts_B
        if origin in without or own_B.sum() < MIN_REWARDS:
            continue
        own_total_D, own_number_D = table.sums(own_B)
        others_B, known_B = _others(table, own_B, total_D - own_total_D, number_D - own_number_D)
        if table.says_enough(known_B) and others_B[known_B].any():
            surprise_R = table.surprise_B[known_B]
            yield _Record(
                origin=origin,
                surprise_R=surprise_R - surprise_R.mean(),
                others_R=others_B[known_B],
                query_R=table.query_B[known_B],
            )


def _others(
    table: _Table, own_B: NDArray[np.bool_], total_D: Floats, number_D: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """(B,) what the others say of each example's documents, (B,) for which of the own ones they say anything."""
    said_D = total_D / (number_D + PRIOR)
    pairs, size = own_B[table.example_P], len(own_B)
    examples, documents = table.example_P[pairs], table.document_P[pairs]
    sums_B = np.bincount(examples, said_D[documents], size)
    spoken_B = np.bincount(examples, number_D[documents] > 0, size) > 0
    return sums_B / np.bincount(examples, minlength=size).clip(min=1), spoken_B
