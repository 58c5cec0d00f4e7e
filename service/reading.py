"""How much of a long document is read: all that fits, or several windows of it, of which the best counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contract.plackett_luce import Logits
from contract.records import Span
from contract.tokens import Memory, Pair, PairTokenizer
from service.asked import Reading
from service.errors import TooLong, TooMany

Rows: TypeAlias = NDArray[np.int64]

MAX_WINDOWS: Final = 10_000
"""Of all documents of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What is scored of some texts: one pair or more for each, in their order."""

    pairs: tuple[Pair, ...]
    owner: Rows
    """(pairs,) the text that each is of, rising."""
    spans: tuple[Span | None, ...]
    """(pairs,) the characters that each has; None is all of the text."""
    truncated: tuple[bool, ...]
    """(texts,) whether a part of the text is in none of its pairs."""

    @property
    def tokens(self) -> int:
        return sum(len(pair.ids) for pair in self.pairs)

    def best(self, logits: Logits) -> tuple[Logits, tuple[Span | None, ...]]:
        """Each text's highest logit, and the characters that it is of.

        logits: (pairs,).  Returns (texts,) and (texts,).
        """
        first = np.searchsorted(self.owner, np.arange(len(self.truncated)))
        ends = np.append(first[1:], len(logits))
        rows = [
            int(start + logits[start:end].argmax()) for start, end in zip(first, ends, strict=True)
        ]
        return logits[rows], tuple(self.spans[row] for row in rows)


def read(
    tokenizer: PairTokenizer,
    query: str,
    texts: Sequence[str],
    reading: Reading,
    *,
    memory: Memory | None = None,
) -> Pages:
    """Raises `QueryTooLong`, `TooMany` windows, and `TooLong` where nothing may be cut.

    memory: of whole documents; windows are cut to fit a query and seldom come again.
    """
    pages = (
        _plain(tokenizer, query, texts, memory)
        if _is_plain(tokenizer, reading)
        else _windows(tokenizer, query, texts, reading)
    )
    if not reading.may_cut and any(pages.truncated):
        raise TooLong(
            f"documents.{pages.truncated.index(True)}: does not fit; a query and a document have "
            f"{tokenizer.max_length} tokens together"
        )
    return pages


def _is_plain(tokenizer: PairTokenizer, reading: Reading) -> bool:
    cuts = reading.max_tokens is not None and reading.max_tokens < tokenizer.max_length
    return not cuts and reading.windows == 1 and not reading.keeps_end


def _plain(
    tokenizer: PairTokenizer, query: str, texts: Sequence[str], memory: Memory | None
) -> Pages:
    pairs = tokenizer.pairs(query, texts, memory=memory)
    return Pages(
        pairs=tuple(pairs),
        owner=np.arange(len(pairs)),
        spans=(None,) * len(pairs),
        truncated=tuple(pair.truncated for pair in pairs),
    )


def _windows(tokenizer: PairTokenizer, query: str, texts: Sequence[str], reading: Reading) -> Pages:
    windows = tokenizer.windows(
        query,
        texts,
        most=reading.windows,
        max_tokens=reading.max_tokens,
        keeps_end=reading.keeps_end,
    )
    spans = [span for each in windows for span in each.spans]
    if len(spans) > MAX_WINDOWS:
        raise TooMany(f"documents: in more than {MAX_WINDOWS} windows")
    owner = np.repeat(np.arange(len(texts)), [len(each.spans) for each in windows])
    parts = [
        text[start:end]
        for text, each in zip(texts, windows, strict=True)
        for start, end in each.spans
    ]
    return Pages(
        pairs=tuple(tokenizer.pairs(query, parts)),
        owner=owner,
        spans=tuple(spans),
        truncated=tuple(not each.is_whole for each in windows),
    )
