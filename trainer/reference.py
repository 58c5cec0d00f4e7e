"""A few questions and texts of our own that every version is measured on: golden pairs, anchor, temperature.

Small and diverse on purpose: short and long, several languages and scripts, one text that tries to be obeyed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from contract.records import Candidate

FILE: Final = Path(__file__).with_name("reference.jsonl")
QUERIES: Final = 2
LIST_LENGTH: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceList:
    """A query with candidates, in the order of a first stage that knows nothing."""

    query: str
    candidates: tuple[Candidate, ...]


@cache
def lists() -> tuple[ReferenceList, ...]:
    """Two of each topic's queries, each with the texts of its own topic among those of the topics that follow."""
    topics = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return tuple(
        _list(query, _texts(topics, number))
        for number, topic in enumerate(topics)
        for query in topic["queries"][:QUERIES]
    )


@cache
def golden() -> tuple[ReferenceList, ...]:
    """Two texts for every second list, and one query with a text that does not fit."""
    pairs = [
        ReferenceList(query=each.query, candidates=each.candidates[:2]) for each in lists()[1::2]
    ]
    everything = " ".join(candidate.text for candidate in lists()[0].candidates)
    long = Candidate(text=f"{everything} {everything}", score=1.0)
    return (*pairs, ReferenceList(query=lists()[0].query, candidates=(long,)))


def _texts(topics: Sequence[dict[str, list[str]]], number: int) -> list[str]:
    following = [*topics[number:], *topics[:number]]
    return [text for topic in following for text in topic["documents"]][:LIST_LENGTH]


def _list(query: str, texts: Sequence[str]) -> ReferenceList:
    def shuffled(text: str) -> bytes:
        return hashlib.sha256(f"{query}\n{text}".encode()).digest()

    candidates = [
        Candidate(text=text, score=float(LIST_LENGTH - place))
        for place, text in enumerate(sorted(texts, key=shuffled))
    ]
    return ReferenceList(query=query, candidates=tuple(candidates))
