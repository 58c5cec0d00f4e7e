"""The handbook as a world to learn in: passages, questions, a first stage and a stated reader.

Most policies exist twice, as a superseded and as a current text that state different values. A reranker that
looks at topic alone puts either twin first; one that learned to read which text is in force answers right.

    world = load()
    question = world.of_split("train")[0]
    candidates = world.candidates(question.question)            # BM25 order, best first
    answer = world.read(question.question, [c.passage.text for c in candidates[:3]])
    reward = world.reward(question, answer)                     # 1.0 if it is the current value

The reader is a simulation, not a language model: it takes the used texts in order and answers with the value of
the first one that belongs to the question's policy, in force or not, and `NOT_STATED` where none does.
Everything here is deterministic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

import bm25s
import numpy as np
import Stemmer
from pydantic import TypeAdapter

DATA: Final = Path(__file__).parent / "data"
NOT_STATED: Final = "not stated"
BM25_K1: Final = 0.9
BM25_B: Final = 0.4

Split = Literal["train", "heldout"]
Status = Literal["current", "superseded", "single"]
Marker = str
"""Name of a way of showing that a text is superseded (of its counterpart, in a current text), or `none`."""
Group = Literal["seen", "unseen", "single"]
Row = TypeVar("Row", "Passage", "Question")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One text of the handbook."""

    id: str
    policy: str
    split: Split
    status: Status
    marker: Marker
    states: str
    """The value that this text gives, in force or not: "14 days"."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that either twin of its policy answers, each with its own value."""

    id: str
    policy: str
    split: Split
    question: str
    answers: tuple[str, ...]
    """The current value alone."""
    passage_id: str
    """The current text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage that the first stage found."""

    passage: Passage
    score: float


@dataclass(frozen=True, kw_only=True)
class World:
    """Passages, questions, and what happens to the texts that a prompt used."""

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]

    def of_split(self, split: Split) -> list[Question]:
        """Questions about the policies of one split."""
        return [question for question in self.questions if question.split == split]

    def group(self, question: Question) -> Group:
        """Whether the superseded twin shows its state in a way that some training policy shows too."""
        marker = self._superseded_marker.get(question.policy)
        if marker is None:
            return "single"
        return "seen" if marker in self._training_markers else "unseen"

    def candidates(self, question: str, n: int = 10) -> list[Candidate]:
        """Return the BM25 top n over all passages, best first; equal scores in file order."""
        scores = self._index.get_scores(_words([question])[0])
        best = np.argsort(-scores, kind="stable")[:n]
        return [Candidate(passage=self.passages[i], score=float(scores[i])) for i in best]

    def read(self, question: str, used: Sequence[str]) -> str:
        """Answer from the first used text that states an answer to the question."""
        policy = self._policy_of_question.get(question)
        stated = (self._passage_of_text.get(text) for text in used)
        answers = (passage.states for passage in stated if passage and passage.policy == policy)
        return next(answers, NOT_STATED)

    def reward(self, question: Question, answer: str) -> float:
        """1 for the current value, 0 for the superseded one and for none."""
        return float(answer in question.answers)

    @cached_property
    def _index(self) -> bm25s.BM25:
        index = bm25s.BM25(k1=BM25_K1, b=BM25_B)
        index.index(_words([passage.text for passage in self.passages]), show_progress=False)
        return index

    @cached_property
    def _superseded_marker(self) -> dict[str, Marker]:
        return {p.policy: p.marker for p in self.passages if p.status == "superseded"}

    @cached_property
    def _training_markers(self) -> frozenset[Marker]:
        return frozenset(p.marker for p in self.passages if p.split == "train")

    @cached_property
    def _policy_of_question(self) -> dict[str, str]:
        return {question.question: question.policy for question in self.questions}

    @cached_property
    def _passage_of_text(self) -> dict[str, Passage]:
        return {passage.text: passage for passage in self.passages}


def load(folder: Path = DATA) -> World:
    """Read the committed handbook."""
    return World(
        passages=_rows(folder / "passages.jsonl", Passage),
        questions=_rows(folder / "questions.jsonl", Question),
    )


def _rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    read = TypeAdapter(kind).validate_json
    return tuple(read(line) for line in path.read_text(encoding="utf-8").splitlines())


def _words(texts: list[str]) -> list[list[str]]:
    words = bm25s.tokenize(
        texts,
        stopwords="en",
        stemmer=Stemmer.Stemmer("english"),
        return_ids=False,
        show_progress=False,
    )
    return cast("list[list[str]]", words)
