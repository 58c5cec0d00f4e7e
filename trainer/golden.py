"""The golden ranking set: questions of our own, from many fields, on which no version may get worse.

A text that answers the question is worth 3, another of its topic 1, all others nothing. Candidates are what BM25 finds,
in its order and with its scores, as an app would send them; a question whose answer is not among them is left out, as
no order of them could answer it. None of this is in the reference lists that exports are measured on.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray
from torch import Tensor

from contract.records import Candidate
from trainer import gate
from trainer.evidence import Scores
from trainer.gate import Answer, Judged, ndcg
from trainer.learner import Listing

Floats: TypeAlias = NDArray[np.float64]

FILE: Final = Path(__file__).with_name("golden.jsonl")
ANSWER: Final = 3.0
TOPICAL: Final = 1.0
CANDIDATES: Final = 20
REMEMBERED: Final = 4
"""Versions: a champion is asked about in every round."""


class GoldenSet:
    """Judged queries, and how well the last few versions ranked them."""

    def __init__(self, judged: Sequence[Judged]) -> None:
        self._judged = judged
        self.listings = [Listing.of(each.query, each.candidates) for each in judged]
        self._known: dict[tuple[str, str], Floats] = {}

    def ndcg(self, served: Scores) -> Floats:
        """(n,) nDCG@10 of each query; a file is asked once."""
        file = (served.version, served.precision)
        if file not in self._known:
            self._known[file] = np.array(
                [
                    ndcg(served.logits(each.query, each.candidates), each.gains)
                    for each in self._judged
                ]
            )
        for oldest in list(self._known)[:-REMEMBERED]:
            del self._known[oldest]
        return self._known[file]

    def is_forgotten(self, candidate: Sequence[Tensor], *, champion: Sequence[Tensor]) -> bool:
        """Whether the gate would refuse a model with these logits of the lists, (n,) each."""
        verdict = gate.golden(self._of(candidate), self._of(champion))
        return verdict.answer is Answer.REFUSE

    def _of(self, logits: Sequence[Tensor]) -> Floats:
        return np.array(
            [
                ndcg(of_list.double().numpy(), judged.gains)
                for of_list, judged in zip(logits, self._judged, strict=True)
            ]
        )


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
        if answer not in listed:
            continue
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
