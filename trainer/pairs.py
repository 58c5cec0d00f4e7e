"""Cross-encoder logits of tokenised pairs by whole forwards: where nothing of them is computed ahead."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from contract.tokens import Batch, Pair, pad
from trainer.model import Reranker

CHUNK: Final = 10
"""Pairs in one forward: similar lengths go together, so that little is padding."""


def logits(reranker: Reranker, pairs: Sequence[Pair], *, pad_id: int = 0) -> Tensor:
    """The cross-encoder's own logits, not yet fused, in the order of the pairs, (P,)."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].ids))
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    by_length = torch.cat(
        [_chunk(reranker, pad([pairs[i] for i in chunk], pad_id=pad_id)) for chunk in chunks]
    )
    return by_length[torch.tensor(order).argsort()]


def _chunk(reranker: Reranker, batch: Batch) -> Tensor:
    encoder, mask = reranker.encoder, torch.from_numpy(batch.attention_mask)
    types = torch.from_numpy(batch.token_type_ids) if encoder.uses_token_types else None
    states = encoder.activations(torch.from_numpy(batch.input_ids), mask, types)
    return encoder.head(states, mask)
