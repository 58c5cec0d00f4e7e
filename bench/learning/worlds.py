"""What the arms are played in: questions with candidates of known worth, so that the value of any order is exact.

handbook   policies that exist twice; only one wording is in force
plain      SQuAD as it is: the first used passage that holds an answer counts, less the further down it is
stale      SQuAD where every gold passage has a twin that says of itself that it is outdated, and answers wrongly
squad, fairytaleqa, reader
           a real language model's answers, one document at a time, from the table of `bench.reader_table`, or,
           where a folder `reader` lies beside the sets, from the one there
"""

import gzip
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Final, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench import reader_table
from contract.records import Candidate
from examples.demo import worlds as demo
from examples.handbook.world import NOT_STATED
from trainer import datasets

Item = TypeVar("Item")
Floats: TypeAlias = NDArray[np.float64]

QUESTIONS: Final = 1_500
"""Of SQuAD to learn from, asked again and again."""
HELD_OUT: Final = 500
SEED: Final = 1
"""Of the draw of questions; the arms' seeds are of traffic, noise and exploration."""
MARKERS: Final[Mapping[str, Sequence[str]]] = {
    "seen": (
        "This page was archived in 2016 and is kept for the record only.",
        "Superseded: a newer edition of this article exists.",
        "Draft, withdrawn before it was published.",
        "Note: the figures below are out of date.",
        "Old revision. Do not rely on it.",
        "Retired entry, replaced in the latest edition.",
        "No longer maintained; see the revised article.",
        "Earlier version, corrected since.",
    ),
    "unseen": (
        "The statements here were true until last year.",
        "Expired content from a former site.",
        "Taken over from the previous decade's almanac.",
        "The editors have since rewritten this section.",
    ),
}
"""What an outdated text says of itself; half of the held-out questions meet one that nobody learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How far the rewards that are seen are from the truth."""

    missing: float = 0.4
    flipped: float = 0.1

    def seen(self, reward: float, rng: np.random.Generator) -> float | None:
        is_missing, is_flipped = rng.random() < self.missing, rng.random() < self.flipped
        if is_missing:
            return None
        return 1 - reward if is_flipped else reward


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one used prefix."""

    reward: float
    cited: int | None
    """Request position of the document that the answer is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request, and what its reader makes of each candidate."""

    id: str
    query: str
    candidates: tuple[Candidate, ...]
    """The first stage's order."""
    worth: tuple[float | None, ...]
    """Of the answer made of this candidate, in [0, 1]; None where the reader passes it over."""
    gold: frozenset[int]
    """Request positions of what an annotator would call relevant."""
    cluster: str
    group: str = "all"


@dataclass(frozen=True, kw_only=True)
class World:
    """Questions to learn from and others to be judged by."""

    name: str
    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    used: int
    """How many documents go into the prompt."""
    discounted: bool
    """Whether an answer is worth less the further down its document is: 1 / log2(1 + place)."""
    noise: Noise = Noise()
    reader: str | None = None
    """As the app calls it, where it says."""

    def outcome(self, question: Question, order: Sequence[int]) -> Outcome:
        """The answer is made of the first used document that the reader does not pass over."""
        for place, position in enumerate(order[: self.used], start=1):
            worth = question.worth[position]
            if worth is not None:
                discount = 1 / math.log2(1 + place) if self.discounted else 1.0
                return Outcome(reward=worth * discount, cited=int(position))
        return Outcome(reward=0.0, cited=None)

    def read(self, query: str, documents: Sequence[str]) -> float:
        """What the answer to one of the questions to learn from is worth, made of these texts."""
        question = self._by_query[query]
        positions = {each.text: at for at, each in enumerate(question.candidates)}
        return self.outcome(question, [positions[text] for text in documents]).reward

    @cached_property
    def _by_query(self) -> dict[str, Question]:
        return {question.query: question for question in self.train}

    def best(self, question: Question) -> list[int]:
        """The order that this reader does best with."""
        return sorted(
            range(len(question.worth)), key=lambda position: -(question.worth[position] or 0.0)
        )

    @property
    def groups(self) -> Mapping[str, list[int]]:
        """Held-out questions by group, where there are several."""
        named = {question.group for question in self.held_out}
        if len(named) == 1:
            return {}
        return {
            name: [at for at, question in enumerate(self.held_out) if question.group == name]
            for name in sorted(named)
        }


def handbook() -> World:
    return of_demo(demo.handbook(), discounted=False)


def plain(data: Path) -> World:
    squad = demo.folder(data / "squad", train=QUESTIONS, held_out=HELD_OUT, seed=SEED)
    return of_demo(squad, discounted=True)


def stale(data: Path) -> World:
    """Twins beside the gold passage, before or after it by chance, with the score of their place."""
    world = plain(data)
    rng = random.Random(SEED)  # noqa: S311 -- a seeded draw, no secret
    train = tuple(_with_twin(each, "seen", rng) for each in world.train)
    held_out = tuple(_with_twin(each, rng.choice(sorted(MARKERS)), rng) for each in world.held_out)
    return World(name="stale", train=train, held_out=held_out, used=world.used, discounted=True)


def _with_twin(question: Question, group: str, rng: random.Random) -> Question:
    """The twin has all but the answer; it takes the last candidate's place in the list."""
    if not question.gold:
        return question
    position = min(question.gold)
    original = question.candidates[position]
    title, _, body = original.text.partition("\n")
    marker = rng.choice(MARKERS[group])
    told = f"{marker} {body}" if rng.random() < 0.5 else f"{body} {marker}"  # noqa: PLR2004 -- a coin
    twin = Candidate(text=f"{title}\n{told}", score=original.score)
    at = position + rng.randrange(2)
    kept = len(question.candidates) - 1

    def inserted(items: Sequence[Item], item: Item) -> tuple[Item, ...]:
        return (*items[:at], item, *items[at:])[: kept + 1]

    candidates = inserted(question.candidates, twin)
    return Question(
        id=question.id,
        query=question.query,
        candidates=candidates,
        worth=inserted(question.worth, 0.0),
        gold=frozenset(
            gold + (gold >= at) for gold in question.gold if gold + (gold >= at) <= kept
        ),
        cluster=question.cluster,
        group=group,
    )


def of_demo(world: demo.World, *, discounted: bool) -> World:
    """A world of the demo, its answers worked out."""
    return World(
        name="plain" if discounted else world.name,
        train=tuple(_of_ask(world, ask) for ask in world.train),
        held_out=tuple(_of_ask(world, ask) for ask in world.held_out),
        used=3,
        discounted=discounted,
    )


def _of_ask(world: demo.World, ask: demo.Ask) -> Question:
    def worth(text: str) -> float | None:
        answer = world.read(ask.text, [text])
        return None if answer == NOT_STATED else world.grade(ask, [text], answer)

    return Question(
        id=ask.id,
        query=ask.text,
        candidates=tuple(Candidate(text=each.text, score=each.score) for each in ask.documents),
        worth=tuple(worth(each.text) for each in ask.documents),
        gold=frozenset(at for at, each in enumerate(ask.documents) if each.id in ask.gold),
        cluster=ask.cluster,
        group=ask.group,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A row of either table: what the reader made of each of BM25's candidates, best first."""

    dataset: str
    question_id: str
    passages: tuple[str, ...]
    f1: tuple[float, ...]

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, str | float]]) -> Self:
        ranked = sorted(rows, key=lambda row: row["bm25_rank"])
        return cls(
            dataset=str(ranked[0]["dataset"]),
            question_id=str(ranked[0]["question_id"]),
            passages=tuple(str(row["passage_id"]) for row in ranked),
            f1=tuple(float(row["f1"]) for row in ranked),
        )


def real_reader(data: Path, *names: str, folds: int = 2, fold: int = 0) -> World:
    """The questions of these sets, split in halves by article or story: one is learned from, the other judges."""
    questions = [
        question
        for name in names
        for question in _read_questions(datasets.load(data / name), _table(data, name))
    ]
    articles = sorted({question.cluster for question in questions})
    random.Random(SEED).shuffle(articles)  # noqa: S311 -- a seeded order, no secret
    judging = set(articles[fold::folds])
    return World(
        name="reader" if len(names) > 1 else names[0],
        train=tuple(each for each in questions if each.cluster not in judging),
        held_out=tuple(each for each in questions if each.cluster in judging),
        used=1,
        discounted=False,
        noise=Noise(flipped=0.0),  # a metric grades the answers
    )


def _table(data: Path, name: str) -> list[_Read]:
    if reader_table.TABLE.exists():
        return [
            _Read(
                dataset=row.dataset,
                question_id=row.question_id,
                passages=tuple(row.passage_ids),
                f1=tuple(f1 for f1 in row.f1 if f1 is not None),
            )
            for row in reader_table.read()[1]
            if row.dataset == name and row.is_complete
        ]
    with gzip.open(data / "reader" / "reader.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [row for row in map(json.loads, lines) if row["dataset"] == name]
    by_question = groupby(found, key=lambda row: row["question_id"])
    return [_Read.of_rows(list(rows)) for _, rows in by_question]


def _read_questions(dataset: datasets.Dataset, table: Sequence[_Read]) -> Iterator[Question]:
    known = {question.id: question for question in dataset.questions["test"]}
    for row in table:
        question = known[row.question_id]
        scores = {
            found.passage.id: found.score
            for found in dataset.candidates(question, n=2 * len(row.passages))
        }
        lowest = min(scores.values())
        yield Question(
            id=question.id,
            query=question.text,
            candidates=tuple(
                Candidate(text=dataset.passages[passage].text, score=scores.get(passage, lowest))
                for passage in row.passages
            ),
            worth=row.f1,
            gold=frozenset(
                at for at, passage in enumerate(row.passages) if passage in question.gold
            ),
            cluster=f"{dataset.name}/{question.group}",
            group=dataset.name,
        )


def load(name: str, data: Path) -> World:
    """By name."""
    made: dict[str, Callable[[], World]] = {
        "handbook": handbook,
        "plain": lambda: plain(data),
        "stale": lambda: stale(data),
        "reader": lambda: real_reader(data, "squad", "fairytaleqa"),
        "squad": lambda: real_reader(data, "squad"),
        "fairytaleqa": lambda: real_reader(data, "fairytaleqa"),
    }
    return made[name]()


NAMES: Final = ("handbook", "plain", "stale", "reader")


def value(world: World, orders: Sequence[Sequence[int]]) -> Floats:
    """(Q,) the exact reward of each held-out question, its documents in these orders."""
    return np.array(
        [
            world.outcome(question, order).reward
            for question, order in zip(world.held_out, orders, strict=True)
        ]
    )
