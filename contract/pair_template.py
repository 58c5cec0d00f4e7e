"""How a tokenizer joins a query and a document, read off once: ids(pair) = head + ids(document) + tail.

So a pair needs no encoding of its own, and the ids of a document can be kept and used for every query.
"""

from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

Ids: TypeAlias = NDArray[np.int32]

_PROBES: Final = (
    ("a", "b"),
    ("what is it?", "no more than a test, of more tokens than what is asked."),
    ("one question of more tokens, and the answer of fewer", "yes"),
    ("a", ""),
    ("", "b"),
    ("", ""),
)
_CUT: Final = 2
"""Tokens that are left of a document whose end does not fit: its special tokens must still be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Special tokens that always stand together."""

    ids: Ids
    type_ids: Ids

    @classmethod
    def of(cls, encoding: Encoding, begin: int, end: int) -> Self:
        return cls(
            ids=np.array(encoding.ids[begin:end], dtype=np.int32),
            type_ids=np.array(encoding.type_ids[begin:end], dtype=np.int32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One query, waiting for its documents."""

    head: Part
    tail: Part
    document_type: int

    def around(self, document: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A pair's ids and type ids.

        document: (n,) its ids alone.  Returns two arrays of (head + n + tail,).
        """
        begin, end = len(self.head.ids), len(self.head.ids) + len(document)
        ids, type_ids = np.empty((2, end + len(self.tail.ids)), dtype=np.int64)
        ids[:begin], type_ids[:begin] = self.head.ids, self.head.type_ids
        ids[begin:end], type_ids[begin:end] = document, self.document_type
        ids[end:], type_ids[end:] = self.tail.ids, self.tail.type_ids
        return ids, type_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTemplate:
    """The special tokens before, between and after a query and its document, and the types of both."""

    prefix: Part
    between: Part
    suffix: Part
    query_type: int
    document_type: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """None where the tokenizer joins pairs otherwise, or where the probes do not tell how.

        tokenizer: without truncation and padding of its own.
        """
        probes = [
            _Probe.of(tokenizer, *texts, cut=cut) for texts in _PROBES for cut in (None, _CUT)
        ]
        told = next((probe for probe in probes if probe.tells), None)
        if told is None:
            return None
        template = cls._read_off(told)
        return template if all(probe.agrees_with(template) for probe in probes) else None

    @classmethod
    def _read_off(cls, probe: "_Probe") -> Self:
        pair, places = probe.pair, probe.pair.sequence_ids
        query, document = places.index(0), places.index(1)
        query_end, document_end = query + len(probe.query), document + len(probe.document)
        return cls(
            prefix=Part.of(pair, 0, query),
            between=Part.of(pair, query_end, document),
            suffix=Part.of(pair, document_end, len(pair)),
            query_type=pair.type_ids[query],
            document_type=pair.type_ids[document],
        )

    def frame(self, query: Ids) -> Frame:
        """query: (n,) its ids alone."""
        types = np.full(len(query), self.query_type, dtype=np.int32)
        head = Part(
            ids=np.concatenate((self.prefix.ids, query, self.between.ids)),
            type_ids=np.concatenate((self.prefix.type_ids, types, self.between.type_ids)),
        )
        return Frame(head=head, tail=self.suffix, document_type=self.document_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """A query and a document, each alone, and the pair that the tokenizer makes of them."""

    query: Encoding
    document: Encoding
    pair: Encoding

    @classmethod
    def of(cls, tokenizer: Tokenizer, query_text: str, text: str, *, cut: int | None) -> Self:
        query, document = tokenizer.encode_batch_fast([query_text, text], add_special_tokens=False)
        if cut is not None:
            document.truncate(cut)
        return cls(query=query, document=document, pair=tokenizer.post_process(query, document))

    @property
    def tells(self) -> bool:
        """Whether both have tokens, so that one sees where they stand."""
        return {0, 1} <= set(self.pair.sequence_ids)

    def agrees_with(self, template: PairTemplate) -> bool:
        """Whether the template makes the same pair."""
        frame = template.frame(np.array(self.query.ids, dtype=np.int32))
        ids, type_ids = frame.around(np.array(self.document.ids, dtype=np.int32))
        return (ids.tolist(), type_ids.tolist()) == (self.pair.ids, self.pair.type_ids)
