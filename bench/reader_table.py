"""A real reader's answer to every candidate of many questions: the exact reward of any rule that uses one document.

    python -m bench.reader_table --data FOLDER [--data FOLDER] --url http://127.0.0.1:8080/v1
        [--model NAME] [--api completions|chat] [--questions 800] [--at-once 2] [--cache .reader]

The reader is anything behind an OpenAI-compatible API, such as `llama-server` of llama.cpp, asked as `rankloop train`
asks it. It is given one candidate at a time, each of BM25's ten best, at temperature 0. Answers are worth their F1.

A passage is a candidate of several questions, whose prompts begin alike: it is read once for all of them by a server
that keeps what it has read, such as llama.cpp, since they are asked one after another.

Every answer is appended to the cache as it comes, so that a run that was stopped goes on where it was; an answer is
known by its prompt. `bench/results/learning/reader.jsonl.gz` gets the rewards, by the ids of the question sets and the
hashes of the prompts: no text of theirs. What it has already is not asked again, on whatever machine it was asked.
"""

import argparse
import gzip
import json
import logging
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, Final, TypeAlias

from trainer import datasets, prompts
from trainer import reader as readers
from trainer.answer_metrics import token_f1
from trainer.datasets import Dataset, Question
from trainer.reader import MAX_TOKENS, Answers, Api, Llm, Reader

logger = logging.getLogger("bench.reader_table")

TABLE: Final = Path(__file__).parent / "results" / "learning" / "reader.jsonl.gz"
CANDIDATES: Final = 10
QUESTIONS: Final = 800
SEED: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question with one of its candidates."""

    dataset: str
    question: Question
    passage_id: str
    rank: int
    """Of the candidate among BM25's, from 1."""
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the shipped table says of one question: lists are by BM25's rank."""

    dataset: str
    question_id: str
    passage_ids: list[str]
    prompts: list[str]
    """The first half of each prompt's sha256."""
    gold: list[bool]
    f1: list[float | None]
    """None where the reader has not been asked yet."""

    @property
    def is_complete(self) -> bool:
        return None not in self.f1


def asks(dataset: Dataset, *, questions: int) -> Iterator[list[Ask]]:
    """The candidates of each of so many test questions, drawn at random; the first n of more are the same."""
    drawn = list(dataset.questions["test"])
    random.Random(SEED).shuffle(drawn)  # noqa: S311 -- a seeded order, no secret
    for question in drawn[:questions]:
        yield [
            Ask(
                dataset=dataset.name,
                question=question,
                passage_id=found.passage.id,
                rank=rank,
                prompt=prompts.build(question.text, [found.passage.text]),
            )
            for rank, found in enumerate(dataset.candidates(question, n=CANDIDATES), 1)
        ]


Known: TypeAlias = Mapping[str, float]
"""F1 by the first half of the prompt's sha256."""


def row(of_question: Sequence[Ask], answers: Answers, known: Known) -> Row:
    def f1(ask: Ask) -> float | None:
        if ask.prompt in answers:
            return round(token_f1(answers[ask.prompt], ask.question.answers), 4)
        return known.get(_half(ask.prompt))

    first = of_question[0]
    return Row(
        dataset=first.dataset,
        question_id=first.question.id,
        passage_ids=[ask.passage_id for ask in of_question],
        prompts=[_half(ask.prompt) for ask in of_question],
        gold=[ask.passage_id in ask.question.gold for ask in of_question],
        f1=[f1(ask) for ask in of_question],
    )


def _half(prompt: str) -> str:
    return prompts.sha256(prompt)[:32]


def write(rows: Iterable[Row], path: Path, *, reader: dict[str, Any]) -> None:
    """The first line says who read and how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
        for line in [reader, *map(asdict, rows)]:
            packed.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


def read(path: Path = TABLE) -> tuple[dict[str, Any], list[Row]]:
    """Who read, and the table."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        reader, *rows = map(json.loads, lines)
    return reader, [Row(**each) for each in rows]


def _known(path: Path) -> Known:
    if not path.exists():
        return {}
    pairs = [pair for row in read(path)[1] for pair in zip(row.prompts, row.f1, strict=True)]
    return {prompt: f1 for prompt, f1 in pairs if f1 is not None}


def _run(options: argparse.Namespace) -> None:
    # In turn, so that a run that was stopped has as many of each set.
    sets = [asks(datasets.load(folder), questions=options.questions) for folder in options.data]
    questions = [each for some in zip_longest(*sets) for each in some if each is not None]
    with readers.client(options.url) as client:
        llm = Llm(client=client, model=options.model, api=options.api)
        answers = Answers(options.cache / "answers.jsonl", reader=llm.name)
        known = _known(options.out)
        try:
            _ask(Reader(llm=llm, answers=answers, at_once=options.at_once), questions, known)
        finally:
            rows = [row(each, answers, known) for each in questions]
            write(
                rows,
                options.out,
                reader={"reader": options.model, "max_tokens": MAX_TOKENS, "seed": SEED},
            )
            logger.info("%d questions are complete", sum(each.is_complete for each in rows))


def _ask(reader: Reader, questions: Sequence[Sequence[Ask]], known: Known) -> None:
    wanted = by_passage(
        ask for of_question in questions for ask in of_question if _half(ask.prompt) not in known
    )
    left = sum(map(len, reader.missing(wanted)))
    logger.info("%d questions, %d answers missing", len(questions), left)
    number = count(1)

    def tell() -> None:
        done = next(number)
        if done % 100 == 0:
            logger.info("%d of %d", done, left)

    reader.ask_all(wanted, on_answer=tell)


def by_passage(asked: Iterable[Ask]) -> list[list[str]]:
    """The prompts that show the same passage, together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for ask in asked:
        groups.setdefault((ask.dataset, ask.passage_id), []).append(ask.prompt)
    return list(groups.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--api", choices=list(Api), type=Api, default=Api.COMPLETIONS)
    parser.add_argument("--model", default="gemma-3-270m-q4_k_m")
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(".reader"))
    parser.add_argument("--out", type=Path, default=TABLE)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for loud in ("bm25s", "httpx"):
        logging.getLogger(loud).setLevel(logging.WARNING)
    _run(parser.parse_args())


if __name__ == "__main__":
    main()
