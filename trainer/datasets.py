"""Question sets with their passages and BM25 candidates, read from a folder of JSON lines.

A folder holds `passages.jsonl` and `questions.<split>.jsonl` for train, validation and test, gzipped or not, with
the fields of SQuAD (`passage_id`) or of FairytaleQA (`passage_ids`, `story`). A question with a story is searched
within that story; any other within the passages of its side: those of test, or those of train and validation.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

BM25_K1: Final = 0.9
BM25_B: Final = 0.4


class DatasetRefused(ValueError):
    """The folder holds no question set that we can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One text that can be retrieved."""

    id: str
    text: str
    """Title and body, as a reader would see them."""
    split: Split
    scope: str
    """Which passages compete with this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question, the texts that answer it and the passages that hold an answer."""

    id: str
    text: str
    answers: tuple[str, ...]
    gold: frozenset[str]
    """Ids of the passages that answer it."""
    group: str
    """The article or story it is about: split by this when learning must not see the same text twice."""
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage found for a question, with its BM25 score (higher is better)."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Passages and questions of one folder."""

    name: str
    passages: Mapping[str, Passage]
    questions: Mapping[Split, tuple[Question, ...]]
    _scopes: dict[str, "_Scope"] = field(default_factory=dict, repr=False)

    def candidates(self, question: Question, *, n: int = 20) -> list[Candidate]:
        """The n best passages of the question's scope, best first; equal scores in file order."""
        return self._scope(question.scope).search(question.text, n=n)

    def _scope(self, name: str) -> "_Scope":
        if name not in self._scopes:
            competing = [passage for passage in self.passages.values() if passage.scope == name]
            self._scopes[name] = _Scope.of(competing)
        return self._scopes[name]


def load(folder: Path) -> Dataset:
    """Reads a whole folder. Raises `DatasetRefused`."""
    if not folder.is_dir():
        message = f"no folder {folder}"
        raise DatasetRefused(message)
    passages = [_passage(row) for row in _rows(folder, "passages")]
    if not passages:
        message = f"{folder} holds no passages"
        raise DatasetRefused(message)
    return Dataset(
        name=folder.name,
        passages={passage.id: passage for passage in passages},
        questions={
            split: tuple(_question(row, split) for row in _rows(folder, f"questions.{split}"))
            for split in SPLITS
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """A BM25 index over the passages that compete with each other."""

    passages: Sequence[Passage]
    index: bm25s.BM25

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> "_Scope":
        index = bm25s.BM25(k1=BM25_K1, b=BM25_B)
        index.index(_tokens([passage.text for passage in passages]), show_progress=False)
        return cls(passages=passages, index=index)

    def search(self, text: str, *, n: int) -> list[Candidate]:
        scores: NDArray[np.float32] = self.index.get_scores(_tokens([text])[0])
        best = np.argsort(-scores, kind="stable")[:n]
        return [Candidate(passage=self.passages[i], score=float(scores[i])) for i in best]


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    tokens = bm25s.tokenize(
        list(texts),
        stopwords="en",
        stemmer=Stemmer.Stemmer("english"),
        return_ids=False,
        show_progress=False,
    )
    return cast("list[list[str]]", tokens)


def _rows(folder: Path, stem: str) -> Iterator[Mapping[str, object]]:
    """The rows of one file; none where there is no such file."""
    plain, packed = folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz"
    if plain.exists():
        yield from map(json.loads, plain.read_text(encoding="utf-8").splitlines())
    elif packed.exists():
        with gzip.open(packed, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _passage(row: Mapping[str, object]) -> Passage:
    split = _split(row["split"])
    story, separator, _ = str(row["id"]).rpartition("#")
    return Passage(
        id=str(row["id"]),
        text=f"{row['title']}\n{row['text']}",
        split=split,
        scope=story if separator else _side(split),
    )


def _question(row: Mapping[str, object], split: Split) -> Question:
    gold = _strings(row["passage_ids"]) if "passage_ids" in row else (str(row["passage_id"]),)
    return Question(
        id=str(row["id"]),
        text=str(row["question"]),
        answers=_strings(row["answers"]),
        gold=frozenset(gold),
        group=str(row.get("story") or row["title"]),
        scope=str(row.get("story") or _side(split)),
    )


def _side(split: Split) -> str:
    return "test" if split == "test" else "train and validation"


def _split(value: object) -> Split:
    for split in SPLITS:
        if split == value:
            return split
    message = f"a split is one of {SPLITS}, not {value!r}"
    raise DatasetRefused(message)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        message = f"a list of texts was expected, not {value!r}"
        raise DatasetRefused(message)
    return tuple(str(item) for item in value)
