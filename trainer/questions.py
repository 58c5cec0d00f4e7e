"""Questions with gold answers and the candidates of a first stage, drawn from a question set for three purposes.

No question of one purpose is asked for another, even where the set has it twice.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contract.records import Candidate
from trainer import datasets
from trainer.datasets import Dataset
from trainer.learner import Listing
from trainer.replay import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question with its candidates, best first, and what counts as an answer."""

    text: str
    candidates: tuple[Candidate, ...]
    answers: tuple[str, ...]
    group: str
    """Its article or story: what is learned of one of its questions may be true of all."""

    @property
    def listing(self) -> Listing:
        return Listing.of(self.text, self.candidates)

    def documents(self, shown: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.candidates[at].text for at in shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What is learned from, what chooses how far to go, and what judges."""

    train: tuple[Question, ...]
    tune: tuple[Question, ...]
    held_out: tuple[Question, ...]


def sides(
    dataset: Dataset, *, train: int, tune: int, held_out: int, candidates: int, seed: int
) -> Sides:
    """At most so many of each split, drawn at random; the first n of more are the same."""
    taken: set[str] = set()

    def draw(split: datasets.Split, n: int) -> tuple[Question, ...]:
        drawn = list(_drawn(dataset.questions[split], n=n, seed=seed, taken=taken))
        return tuple(_question(dataset, each, candidates=candidates) for each in drawn)

    judging = draw("test", held_out)
    choosing = draw("validation", tune)
    return Sides(train=draw("train", train), tune=choosing, held_out=judging)


def requests(asked: Sequence[Question], *, used: int) -> list[Request]:
    """As a replay takes them; the questions about one article are a cluster."""
    return [
        Request(query=each.text, candidates=each.candidates, used=used, cluster=cluster)
        for each, cluster in zip(asked, clusters(asked), strict=True)
    ]


def clusters(asked: Sequence[Question]) -> list[int]:
    """A number for the group of each."""
    numbers = {each.group: number for number, each in enumerate(asked)}
    return [numbers[each.group] for each in asked]


def _drawn(
    found: Sequence[datasets.Question], *, n: int, seed: int, taken: set[str]
) -> Iterator[datasets.Question]:
    """Skips what is taken, and takes what it yields."""
    order = random.Random(seed).sample(found, k=len(found))
    left = n
    for question in order:
        if left == 0:
            return
        if question.answers and question.text not in taken:
            taken.add(question.text)
            left -= 1
            yield question


def _question(dataset: Dataset, question: datasets.Question, *, candidates: int) -> Question:
    return Question(
        text=question.text,
        candidates=tuple(
            Candidate(text=found.passage.text, key=found.passage.id, score=found.score)
            for found in dataset.candidates(question, n=candidates)
        ),
        answers=question.answers,
        group=question.group,
    )
