"""Text pair to model inputs: the one tokenizer path, for the service and the trainer alike.

The query is tokenised once for a request; documents are cut, never the query. The special tokens
around a pair are the tokenizer's own, so BERT, XLM-R and ModernBERT need no case here: they are read
off at load (`PairTemplate`), and where that fails the tokenizer makes every pair (`post_process`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from contract.pair_template import Ids, PairTemplate
from contract.records import Span

CHARACTERS_PER_TOKEN: Final = 8
"""Tokenising comes before cutting, so far too long texts are cut by characters first."""

MIN_DOCUMENT_TOKENS: Final = 16
_OVERLAP: Final = 8
"""A window repeats so large a part of the one before it: what answers may stand at the seam."""


class QueryTooLong(ValueError):
    """The query leaves no room for a document within the model's maximum length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One query with one document, ready for the model."""

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    truncated: bool
    """Whether the end of the document did not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A document alone, as far as any query could leave room for it."""

    ids: Ids
    is_whole: bool
    """Whether nothing was cut from it yet."""


class Memory(Protocol):
    """Tokens of documents that came before, of one tokenizer and one maximum length."""

    def recall(
        self, documents: Sequence[str], tokenise: Callable[[Sequence[str]], Sequence[Tokens]]
    ) -> Sequence[Tokens]:
        """Those of each document, in order; `tokenise` makes the ones that are not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Padded pairs: every array is (pairs, longest)."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Parts of one document that fit the model, each overlapping the one before it by an eighth."""

    spans: tuple[Span, ...]
    is_whole: bool
    """Whether every token is in one of them."""


class PairTokenizer:
    """Tokenises pairs of at most `max_length` tokens, special tokens included."""

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        # Files in the wild carry truncation and padding of their own.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._special = tokenizer.num_special_tokens_to_add(is_pair=True)
        self._template = PairTemplate.of(tokenizer)
        self.max_length = max_length

    @classmethod
    def from_file(cls, path: Path, *, max_length: int) -> Self:
        return cls(Tokenizer.from_file(str(path)), max_length=max_length)

    def pairs(
        self, query: str, documents: Sequence[str], *, memory: Memory | None = None
    ) -> list[Pair]:
        """One pair for each document, in order. Raises `QueryTooLong`."""
        (encoded_query,) = self._encode([query])
        room = self._room(encoded_query)
        if self._template is None:
            return self._post_processed(encoded_query, documents, room=room)
        frame = self._template.frame(np.array(encoded_query.ids, dtype=np.int32))
        tokenise = self._tokens
        known = tokenise(documents) if memory is None else memory.recall(documents, tokenise)
        pairs = []
        for tokens in known:
            ids, type_ids = frame.around(tokens.ids[:room])
            truncated = not tokens.is_whole or len(tokens.ids) > room
            pairs.append(Pair(ids=ids, type_ids=type_ids, truncated=truncated))
        return pairs

    def windows(
        self,
        query: str,
        documents: Sequence[str],
        *,
        most: int,
        max_tokens: int | None = None,
        keeps_end: bool = False,
    ) -> list[Windows]:
        """Where to cut each document so that it is read in `most` pairs at most. Raises `QueryTooLong`.

        max_tokens: of a document, windows and all.  keeps_end: leave out the beginning instead of the end.
        """
        room = self._room(*self._encode([query]))
        return [
            self._windows(document, room=room, most=most, limit=max_tokens, keeps_end=keeps_end)
            for document in documents
        ]

    def _windows(
        self, document: str, *, room: int, most: int, limit: int | None, keeps_end: bool
    ) -> Windows:
        skipped = max(0, len(document) - most * self._max_characters)
        shift = skipped if keeps_end else 0
        kept = document[shift : shift + len(document) - skipped]
        offsets = self._tokenizer.encode(kept, add_special_tokens=False).offsets
        overlap = room // _OVERLAP
        stride = room - overlap
        read = min(len(offsets), limit or len(offsets), room + (most - 1) * stride)
        begin = len(offsets) - read if keeps_end else 0
        starts = range(begin, max(begin + 1, begin + read - overlap), stride)
        cuts = [offsets[start : min(start + room, begin + read)] for start in starts]
        return Windows(
            spans=tuple((shift + cut[0][0], shift + cut[-1][1]) if cut else (0, 0) for cut in cuts),
            is_whole=not skipped and read == len(offsets),
        )

    def _room(self, query: Encoding) -> int:
        """Tokens left for a document."""
        room = self.max_length - self._special - len(query)
        if room < MIN_DOCUMENT_TOKENS:
            message = f"the query has {len(query)} tokens; a pair has {self.max_length}"
            raise QueryTooLong(message)
        return room

    @property
    def _max_characters(self) -> int:
        return self.max_length * CHARACTERS_PER_TOKEN

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Without offsets: a pair has none."""
        short = [text[: self._max_characters] for text in texts]
        return self._tokenizer.encode_batch_fast(short, add_special_tokens=False)

    def _tokens(self, documents: Sequence[str]) -> list[Tokens]:
        return [
            Tokens(
                ids=np.array(encoded.ids[: self.max_length], dtype=np.int32),
                is_whole=len(encoded) <= self.max_length and len(document) <= self._max_characters,
            )
            for document, encoded in zip(documents, self._encode(documents), strict=True)
        ]

    def _post_processed(
        self, query: Encoding, documents: Sequence[str], *, room: int
    ) -> list[Pair]:
        """Pairs of a tokenizer that no template describes."""
        pairs = []
        for document, encoded in zip(documents, self._encode(documents), strict=True):
            truncated = len(encoded) > room or len(document) > self._max_characters
            encoded.truncate(room)
            whole = self._tokenizer.post_process(query, encoded)
            pairs.append(
                Pair(
                    ids=np.array(whole.ids, dtype=np.int64),
                    type_ids=np.array(whole.type_ids, dtype=np.int64),
                    truncated=truncated,
                )
            )
        return pairs


def pad(pairs: Sequence[Pair], *, pad_id: int = 0) -> Batch:
    """Stacks pairs into one batch, padded at the end to the longest of them."""
    shape = (len(pairs), max(len(pair.ids) for pair in pairs))
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    token_type_ids = np.zeros(shape, dtype=np.int64)
    for row, pair in enumerate(pairs):
        length = len(pair.ids)
        input_ids[row, :length] = pair.ids
        attention_mask[row, :length] = 1
        token_type_ids[row, :length] = pair.type_ids
    return Batch(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
