"""What is measured: requests of the user's own, or a sample that is shipped, and how they are grouped."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from contract import first_stage
from contract.refusals import Refusal
from contract.tokens import Pair, PairTokenizer, QueryTooLong

MOST: Final = 200
"""Requests of a file; tokenising more of them takes longer than measuring does."""

_TOPICS: Final = Path(__file__).with_name("topics.jsonl")
_DOCUMENTS: Final = 32
_MEDIAN_WORDS: Final = 100
_SPREAD: Final = 0.5
"""Of the logarithm of a document's words: the mean is 113 words, about 150 tokens."""

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RequestsRefused(Refusal):
    """A file of requests that cannot be measured; the message says why."""


class Request(BaseModel):
    """One query with its documents; what else a line says is not read."""

    model_config = ConfigDict(frozen=True)

    query: _Text
    documents: tuple[_Text, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as the device gets it."""

    pairs: Sequence[Pair]
    first_stage: NDArray[np.float32]
    """(n, 3), of documents that came without scores."""

    @classmethod
    def of(cls, request: Request, tokenizer: PairTokenizer) -> Self:
        """Raises `RequestsRefused`."""
        try:
            pairs = tokenizer.pairs(request.query, request.documents)
        except QueryTooLong as error:
            message = f"a query is too long for this model: {error}"
            raise RequestsRefused(message) from error
        return cls(pairs=pairs, first_stage=first_stage.features([None] * len(pairs)))

    @property
    def tokens(self) -> int:
        return sum(len(pair.ids) for pair in self.pairs)


def read(path: Path) -> list[Request]:
    """The first requests of a file of JSON lines.  Raises `RequestsRefused`."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = (line for line in enumerate(file, 1) if line[1].strip())
            found = [_request(path, *line) for line in islice(lines, MOST)]
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise RequestsRefused(message) from error
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8"
        raise RequestsRefused(message) from error
    if not found:
        message = f"{path} has no requests"
        raise RequestsRefused(message)
    return found


def _request(path: Path, number: int, line: str) -> Request:
    try:
        return Request.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        message = f"{path}, line {number}: {where}{first['msg']}"
        raise RequestsRefused(message) from error


def sample() -> list[Request]:
    """A request of 32 documents for each topic, whose lengths are lognormal; the same ones every time."""
    topics = [json.loads(line) for line in _TOPICS.read_text(encoding="utf-8").splitlines()]
    rng = np.random.default_rng(0)
    return [
        Request(query=topic["query"], documents=tuple(_documents(topics, number, rng)))
        for number, topic in enumerate(topics)
    ]


def _documents(
    topics: Sequence[dict[str, list[str]]], number: int, rng: np.random.Generator
) -> Iterator[str]:
    """Texts that begin with one topic after the other, the request's own first, and go on with those that follow."""
    for place in range(_DOCUMENTS):
        start = (number + place) % len(topics)
        sentences = rng.permutation(topics[start]["sentences"]).tolist()
        following = cycle([*topics[start + 1 :], *topics[: start + 1]])
        more = chain.from_iterable(topic["sentences"] for topic in following)
        words = " ".join(chain(sentences, islice(more, 60))).split()
        yield " ".join(words[: max(8, int(rng.lognormal(np.log(_MEDIAN_WORDS), _SPREAD)))])


def resized(requests: Sequence[Request], count: int) -> list[Request]:
    """Every query with so many documents: its own, then those of the requests after it, and again from the first."""
    return [
        Request(query=request.query, documents=tuple(islice(_from(requests, number), count)))
        for number, request in enumerate(requests)
    ]


def _from(requests: Sequence[Request], number: int) -> Iterator[str]:
    turned = [*requests[number:], *requests[:number]]
    return chain.from_iterable(request.documents for request in cycle(turned))


def waves(prepared: Sequence[Prepared], *, tokens: int) -> list[list[Prepared]]:
    """Groups of requests that arrive together, of at least so many tokens each; the last is filled from the first."""
    found: list[list[Prepared]] = [[]]
    for seen, request in enumerate(cycle(prepared), 1):
        found[-1].append(request)
        if sum(each.tokens for each in found[-1]) >= tokens:
            if seen >= len(prepared):
                break
            found.append([])
    return found
