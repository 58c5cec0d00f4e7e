"""The golden ranking set: a few questions of our own on which no version may get worse.

A text that answers the question is worth 3, another of its topic 1, all others nothing. Candidates come in BM25's
order with its scores, as an app would send them.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import bm25s
import numpy as np
import Stemmer

from contract.records import Candidate
from trainer.gate import Judged
from trainer.reference import FILE

ANSWER: Final = 3.0
TOPICAL: Final = 1.0
CANDIDATES: Final = 20


@cache
def judged() -> tuple[Judged, ...]:
    """Each topic lists its answers in the order of its questions, and other texts after them."""
    topics = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    texts = [text for topic in topics for text in topic["documents"]]
    index = bm25s.BM25()
    index.index(_tokens(texts), show_progress=False)
    return tuple(each for topic in topics for each in _judged(topic, texts, index))


def _judged(
    topic: dict[str, list[str]], texts: Sequence[str], index: bm25s.BM25
) -> Iterator[Judged]:
    for query, answer in zip(topic["queries"], topic["documents"], strict=False):
        scores = index.get_scores(_tokens([query])[0])
        best = [*np.argsort(-scores, kind="stable")[:CANDIDATES]]
        listed = [texts[at] for at in best]
        worth = dict.fromkeys(topic["documents"], TOPICAL) | {answer: ANSWER}
        yield Judged(
            query=query,
            candidates=tuple(
                Candidate(text=text, score=float(scores[at]))
                for at, text in zip(best, listed, strict=True)
            ),
            gains=tuple(worth.get(text, 0.0) for text in listed),
        )


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    tokens: list[list[str]] = bm25s.tokenize(
        list(texts),
        stopwords=None,
        stemmer=Stemmer.Stemmer("english"),
        return_ids=False,
        show_progress=False,
    )
    return tokens
