"""Answers that a real reader gave to questions of SQuAD, each with the F1 that the gold answers give it."""

import gzip
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Self

from trainer import datasets

DATASET: Final = "squad"
GOOD_FROM: Final = 0.5
"""The F1 of an answer that counts as good."""
ANSWERS: Final = 200
SEED: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What the reader answered from one document."""

    question: str
    """Its id."""
    passage: str
    """The id of the document."""
    rank: int
    """Of the document among the candidates, from 1."""
    text: str
    f1: float

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        return cls(
            question=row["question_id"],
            passage=row["passage_id"],
            rank=row["bm25_rank"],
            text=row["answer"].strip(),
            f1=row["f1"],
        )

    @property
    def is_good(self) -> bool:
        return self.f1 >= GOOD_FROM


@dataclass(frozen=True, slots=True, kw_only=True)
class RealAnswer:
    """An answer as an app would report it, and what it is worth."""

    query: str
    documents: tuple[str, ...]
    """The candidates, best first."""
    used: int
    """Which of them the reader was given."""
    text: str
    f1: float


def sample(data: Path, n: int = ANSWERS) -> list[RealAnswer]:
    """The first n of 200 answers to as many questions, half of them good.

    data: a folder with `squad` (questions and passages) and `reader` (answers).
    """
    dataset = datasets.load(data / DATASET)
    questions = {question.id: question for question in dataset.questions["test"]}
    rows = _rows(data / "reader" / "reader.jsonl.gz")
    candidates = {
        question: tuple(dataset.passages[row.passage].text for row in group)
        for question, group in groupby(rows, key=attrgetter("question"))
    }
    return [
        RealAnswer(
            query=questions[row.question].text,
            documents=candidates[row.question],
            used=row.rank - 1,
            text=row.text,
            f1=row.f1,
        )
        for row in drawn(rows, ANSWERS)[:n]
    ]


def drawn(rows: Sequence[Read], n: int) -> list[Read]:
    """At most one row of each question, a good and a bad one in turn; the same rows every time.

    A good one is taken first: questions that this reader ever answers well are scarcer.
    """
    shuffled = [row for row in rows if row.text]
    random.Random(SEED).shuffle(shuffled)  # noqa: S311 -- a seeded order, no secret
    good = _one_each(row for row in shuffled if row.is_good)[: n // 2]
    taken = {row.question for row in good}
    others = (row for row in shuffled if not row.is_good and row.question not in taken)
    bad = _one_each(others)[: n - n // 2]
    return [row for pair in zip_longest(good, bad) for row in pair if row is not None]


def _one_each(rows: Iterable[Read]) -> list[Read]:
    """The first of each question."""
    first: dict[str, Read] = {}
    for row in rows:
        first.setdefault(row.question, row)
    return list(first.values())


def _rows(path: Path) -> list[Read]:
    """By question, its candidates best first."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [row for row in map(json.loads, lines) if row["dataset"] == DATASET]
    return sorted(map(Read.of, found), key=attrgetter("question", "rank"))
