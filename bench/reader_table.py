"""A real reader's answer to every candidate of many questions: the exact reward of any rule that uses one document.

    python -m bench.reader_table --data FOLDER [--data FOLDER] --url http://127.0.0.1:8080/v1
        [--model NAME] [--questions 800] [--at-once 2] [--cache .reader]

The reader is anything that completes text behind an OpenAI-compatible API, such as `llama-server` of llama.cpp. It is
given one candidate at a time, each of BM25's ten best, at temperature 0. An answer is worth its token F1.

A passage is a candidate of several questions, whose prompts begin alike: it is read once for all of them by a server
that keeps what it has read, such as llama.cpp, since they are asked one after another.

Every answer is appended to the cache as it comes, so that a run that was stopped goes on where it was; an answer is
known by its prompt. `bench/results/learning/reader.jsonl.gz` gets the rewards of the questions that are complete, by
the ids of the question sets and the hashes of the prompts: no text of theirs.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Final

import httpx

from examples.demo.grading import token_f1
from trainer import datasets
from trainer.datasets import Dataset, Question

logger = logging.getLogger("bench.reader_table")

TABLE: Final = Path(__file__).parent / "results" / "learning" / "reader.jsonl.gz"
CANDIDATES: Final = 10
QUESTIONS: Final = 800
SEED: Final = 7
MAX_PASSAGE: Final = 900
"""Characters of a passage that the reader sees: a small model reads slowly."""
MAX_TOKENS: Final = 20
TIMEOUT_S: Final = 300.0
ATTEMPTS: Final = 3

_PROMPT: Final = """Answer each question with a few words of its passage.

Passage: The harbour of Skagen was finished in 1907. Until then boats were pulled up on the beach.
Question: When was the harbour of Skagen finished?
Answer: 1907

Passage: The old miller gave his youngest son a lantern, and told him never to put it out before the ninth bridge.
Question: What did the miller give his youngest son?
Answer: a lantern

Passage: {passage}
Question: {question}
Answer:"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question with one of its candidates."""

    dataset: str
    question: Question
    passage_id: str
    rank: int
    """Of the candidate among BM25's, from 1."""
    prompt: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.prompt.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the shipped table says of one question: lists are by BM25's rank."""

    dataset: str
    question_id: str
    passage_ids: list[str]
    prompts: list[str]
    """The first half of each prompt's sha256."""
    gold: list[bool]
    f1: list[float]


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
                prompt=_PROMPT.format(
                    passage=" ".join(found.passage.text[:MAX_PASSAGE].split()),
                    question=question.text.strip(),
                ),
            )
            for rank, found in enumerate(dataset.candidates(question, n=CANDIDATES), 1)
        ]


class Cache:
    """Answers by prompt, in a file that only grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, str] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._remember(line)

    def __contains__(self, ask: Ask) -> bool:
        return ask.sha256 in self._answers

    def __getitem__(self, ask: Ask) -> str:
        return self._answers[ask.sha256]

    def add(self, ask: Ask, answer: str, *, file: IO[str]) -> None:
        self._answers[ask.sha256] = answer
        file.write(json.dumps({"prompt": ask.sha256, "answer": answer}) + "\n")
        file.flush()

    def opened(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("a", encoding="utf-8")

    def _remember(self, line: str) -> None:
        try:
            found = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            return
        self._answers[found["prompt"]] = found["answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A language model that completes text."""

    client: httpx.AsyncClient
    model: str

    async def answer(self, prompt: str) -> str:
        """The rest of the line.  Raises `httpx.HTTPError`."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._answer(prompt)
            except httpx.HTTPError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(attempt)
        raise AssertionError

    async def _answer(self, prompt: str) -> str:
        response = await self.client.post(
            "completions",
            json={
                "model": self.model,
                "prompt": prompt,
                "max_tokens": MAX_TOKENS,
                "temperature": 0,
                "stop": ["\n"],
                "cache_prompt": True,  # of llama.cpp: the examples are read once
            },
        )
        response.raise_for_status()
        text: str = response.json()["choices"][0]["text"]
        return text.partition("\n")[0].strip()


async def ask_all(reader: Reader, missing: Sequence[Ask], cache: Cache, *, at_once: int) -> None:
    """Answers to all that the cache lacks, written down as they come."""
    room = asyncio.Semaphore(at_once)
    done = 0
    with cache.opened() as file:

        async def of_passage(asked: Sequence[Ask]) -> None:
            nonlocal done
            async with room:
                for ask in asked:
                    cache.add(ask, await reader.answer(ask.prompt), file=file)
            done += len(asked)
            logger.info("%d of %d", done, len(missing))

        async with asyncio.TaskGroup() as group:
            for asked in by_passage(missing):
                group.create_task(of_passage(asked))


def by_passage(asked: Iterable[Ask]) -> list[list[Ask]]:
    groups: dict[tuple[str, str], list[Ask]] = {}
    for ask in asked:
        groups.setdefault((ask.dataset, ask.passage_id), []).append(ask)
    return list(groups.values())


def row(of_question: Sequence[Ask], cache: Cache) -> Row:
    first = of_question[0]
    return Row(
        dataset=first.dataset,
        question_id=first.question.id,
        passage_ids=[ask.passage_id for ask in of_question],
        prompts=[ask.sha256[:32] for ask in of_question],
        gold=[ask.passage_id in ask.question.gold for ask in of_question],
        f1=[round(token_f1(cache[ask], ask.question.answers), 4) for ask in of_question],
    )


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


async def _run(options: argparse.Namespace) -> None:
    # In turn, so that a run that was stopped has as many of each set.
    sets = [asks(datasets.load(folder), questions=options.questions) for folder in options.data]
    questions = [each for some in zip_longest(*sets) for each in some if each is not None]
    cache = Cache(options.cache / "answers.jsonl")
    missing = [ask for of_question in questions for ask in of_question if ask not in cache]
    logger.info("%d questions, %d answers missing", len(questions), len(missing))
    url = options.url.rstrip("/") + "/"
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
        try:
            reader = Reader(client=client, model=options.model)
            await ask_all(reader, missing, cache, at_once=options.at_once)
        finally:
            complete = [each for each in questions if all(ask in cache for ask in each)]
            write(
                [row(each, cache) for each in complete],
                options.out,
                reader={"reader": options.model, "max_tokens": MAX_TOKENS, "seed": SEED},
            )
            logger.info("%d questions are complete", len(complete))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", default="gemma-3-270m-q4_k_m")
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(".reader"))
    parser.add_argument("--out", type=Path, default=TABLE)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for loud in ("bm25s", "httpx"):
        logging.getLogger(loud).setLevel(logging.WARNING)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
