"""What the demo can play: the handbook, or any question set in a folder, as questions with their candidates."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from examples.demo import grading
from examples.handbook import world as handbook_world
from trainer import answer_metrics, datasets

CANDIDATES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A candidate of the first stage."""

    id: str
    text: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question as the application sees it, and what is needed to grade an answer."""

    id: str
    text: str
    documents: tuple[Document, ...]
    """The first stage's order, best first."""
    gold: frozenset[str]
    """Ids of the documents that hold the right answer."""
    answers: tuple[str, ...]
    cluster: str
    """Asks about the same texts: drawn together when an interval is resampled."""
    group: str
    """Reported apart."""


Read: TypeAlias = Callable[[str, Sequence[str]], str]
"""The simulated reader: from a question and the texts of its prompt to an answer."""
Grade: TypeAlias = Callable[[Ask, Sequence[str], str], float]
"""What an answer is worth, in [0, 1], given the question, the texts of its prompt and the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Questions to learn from, other ones to be judged by, and how answers come about."""

    name: str
    train: tuple[Ask, ...]
    """In the order they are asked; asked again from the beginning when they run out."""
    held_out: tuple[Ask, ...]
    read: Read
    grade: Grade

    def traffic(self, n: int, *, seed: int) -> Iterator[Ask]:
        """Yield n asks: all training questions in a random order, then again in another one."""
        rng = random.Random(seed)
        left = n
        while left > 0:
            asks = rng.sample(self.train, k=min(left, len(self.train)))
            yield from asks
            left -= len(asks)

    def with_real_reader(self) -> "World":
        """The same world where answers come from a language model and are worth their token F1."""
        return replace(
            self, grade=lambda ask, _, answer: answer_metrics.token_f1(answer, ask.answers)
        )


def handbook() -> World:
    """The handbook: most policies exist twice, and only one of the two wordings is in force."""
    world = handbook_world.load()
    return World(
        name="handbook",
        train=tuple(_handbook_ask(world, question) for question in world.of_split("train")),
        held_out=tuple(_handbook_ask(world, question) for question in world.of_split("heldout")),
        read=world.read,
        grade=lambda ask, _, answer: float(answer in ask.answers),
    )


def folder(path: Path, *, train: int, held_out: int, seed: int) -> World:
    """A question set in the format of `trainer.datasets`: a random part of it, as its questions are many.

    An answer is worth what the first used passage that contains a gold answer is worth at its place.
    """
    dataset = datasets.load(path)
    rng = random.Random(seed)
    learned = _some(dataset.questions["train"], n=train, rng=rng)
    judged = _some(dataset.questions["test"], n=held_out, rng=rng)
    answers = {question.text: question.answers for question in [*learned, *judged]}
    return World(
        name=path.name,
        train=tuple(_dataset_ask(dataset, question) for question in learned),
        held_out=tuple(_dataset_ask(dataset, question) for question in judged),
        read=lambda question, used: grading.first_contained(used, answers.get(question, ())),
        grade=lambda ask, used, _: grading.discounted_containment(used, ask.answers),
    )


def _handbook_ask(world: handbook_world.World, question: handbook_world.Question) -> Ask:
    return Ask(
        id=question.id,
        text=question.question,
        documents=tuple(
            Document(id=found.passage.id, text=found.passage.text, score=found.score)
            for found in world.candidates(question.question, n=CANDIDATES)
        ),
        gold=frozenset([question.passage_id]),
        answers=question.answers,
        cluster=question.policy,
        group=world.group(question),
    )


def _dataset_ask(dataset: datasets.Dataset, question: datasets.Question) -> Ask:
    return Ask(
        id=question.id,
        text=question.text,
        documents=tuple(
            Document(id=found.passage.id, text=found.passage.text, score=found.score)
            for found in dataset.candidates(question, n=CANDIDATES)
        ),
        gold=question.gold,
        answers=question.answers,
        cluster=question.group,
        group="all",
    )


def _some(
    questions: Sequence[datasets.Question], *, n: int, rng: random.Random
) -> list[datasets.Question]:
    return rng.sample(questions, k=min(n, len(questions)))
