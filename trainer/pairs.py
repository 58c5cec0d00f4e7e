"""Cross-encoder logits of tokenised pairs in torch, for warm start and calibration."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from contract.tokens import Pair, pad
from trainer.model import Reranker

CHUNK: Final = 10
"""Pairs in one forward: similar lengths go together, so that little is padding."""


def logits(reranker: Reranker, pairs: Sequence[Pair]) -> Tensor:
    """The cross-encoder's own logits, not yet fused, in the order of the pairs, (P,)."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].ids))
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    by_length = torch.cat([_chunk(reranker, [pairs[i] for i in chunk]) for chunk in chunks])
    return by_length[torch.tensor(order).argsort()]


def _chunk(reranker: Reranker, pairs: Sequence[Pair]) -> Tensor:
    batch = pad(pairs)
    mask = torch.from_numpy(batch.attention_mask)
    states = reranker.encoder.activations(
        torch.from_numpy(batch.input_ids), mask, torch.from_numpy(batch.token_type_ids)
    )
    return reranker.encoder.head(states, mask)
