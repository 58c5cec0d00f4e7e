"""What enters the last layer for each pair of texts, kept in memory: training repeats the last layer alone.

While no rung changes the layers below, what one round computed serves the next. Half precision, and a budget: what
does not fit is computed again each time it is asked for.

Shapes: P pairs, T tokens, H hidden size.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from contract.tokens import Pair, PairTokenizer, pad
from trainer.model import Reranker

Texts: TypeAlias = tuple[str, str]
"""Query and document."""

BATCH_TOKENS: Final = 2_048
AT_ONCE: Final = 512
"""Pairs that are sorted by length together, and in memory before they are kept."""


class Activations:
    """The hidden states of pairs, computed once while they fit."""

    def __init__(
        self, reranker: Reranker, tokenizer: PairTokenizer, *, pad_id: int, max_bytes: int
    ) -> None:
        self._reranker = reranker
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self._left_bytes = max_bytes
        self._kept: dict[Texts, Tensor] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, wanted: Sequence[Texts]) -> tuple[Tensor, Tensor]:
        """States (P, T, H) in single precision and their attention mask (P, T), in the order asked."""
        found = self._found(wanted)
        states = [found[texts] for texts in wanted]
        lengths_P = torch.tensor([len(each) for each in states])
        mask_PT = torch.arange(int(lengths_P.max()))[None] < lengths_P[:, None]
        return pad_sequence(states, batch_first=True).float(), mask_PT.long()

    def tokens(self, wanted: Sequence[Texts]) -> list[Pair]:
        """What enters the first layer instead, for those who need all of them."""
        return [self._tokenizer.pairs(query, [document])[0] for query, document in wanted]

    def keep(self, wanted: Sequence[Texts], *, makes_room: bool = True) -> None:
        """Computes what is missing, ahead of its use, until the budget is spent.

        wanted: the most wanted first.  makes_room: whether older pairs go, where there is none.
        """
        missing = [texts for texts in dict.fromkeys(wanted) if texts not in self._kept]
        known = set(wanted)
        older = iter([texts for texts in self._kept if makes_room and texts not in known])
        for start in range(0, len(missing), AT_ONCE):
            for texts, states_TH in self._computed(missing[start : start + AT_ONCE]):
                while not self._is_room(states_TH) and (oldest := next(older, None)) is not None:
                    self._left_bytes += _bytes(self._kept.pop(oldest))
                if not self._is_room(states_TH):
                    return
                self._put(texts, states_TH)

    def _found(self, wanted: Sequence[Texts]) -> dict[Texts, Tensor]:
        missing = [texts for texts in dict.fromkeys(wanted) if texts not in self._kept]
        found = {texts: self._kept[texts] for texts in wanted if texts in self._kept}
        for texts, states_TH in self._computed(missing):
            found[texts] = states_TH
            if self._is_room(states_TH):
                self._put(texts, states_TH)
        return found

    def _is_room(self, states_TH: Tensor) -> bool:
        return _bytes(states_TH) <= self._left_bytes

    def _put(self, texts: Texts, states_TH: Tensor) -> None:
        self._left_bytes -= _bytes(states_TH)
        self._kept[texts] = states_TH

    @torch.no_grad()
    def _computed(self, missing: Sequence[Texts]) -> Iterator[tuple[Texts, Tensor]]:
        pairs = self.tokens(missing)
        for chosen in _by_length(pairs):
            batch = pad([pairs[index] for index in chosen], pad_id=self.pad_id)
            types = batch.token_type_ids if self._reranker.encoder.uses_token_types else None
            states_PTH = self._reranker.activations(
                torch.from_numpy(batch.input_ids),
                torch.from_numpy(batch.attention_mask),
                None if types is None else torch.from_numpy(types),
            )
            for row, index in enumerate(chosen):
                yield missing[index], states_PTH[row, : len(pairs[index].ids)].half()


def _bytes(states_TH: Tensor) -> int:
    return states_TH.numel() * states_TH.element_size()


def _by_length(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Runs of pairs of about the same length, of at most `BATCH_TOKENS` padded tokens."""
    run: list[int] = []
    for index in np.argsort([len(pair.ids) for pair in pairs], kind="stable").tolist():
        if run and (len(run) + 1) * len(pairs[index].ids) > BATCH_TOKENS:
            yield run
            run = []
        run.append(index)
    if run:
        yield run
