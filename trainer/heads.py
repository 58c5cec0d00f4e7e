"""The last layer over cached activations, several times cheaper than the model itself computes it.

Only the first token is read. Its query, carried through the key map, meets the tokens directly, and the weighted
mean of the tokens goes through the value map once: keys and values of the other tokens are never computed.

    q . (W_k h_t + b_k) = (W_k^T q) . h_t + const        sum_t w_t (W_v h_t + b_v) = W_v (sum_t w_t h_t) + b_v

Shapes: P pairs, T tokens, H hidden size, A attention heads, D = H / A.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.models.bert.modeling_bert import BertSelfAttention

from trainer.encoders import BertEncoder, Encoder


def pair_logits(encoder: Encoder, states_PTH: Tensor, mask_PT: Tensor) -> Tensor:
    """What `encoder.head` computes, up to rounding; a test holds them equal."""
    if not isinstance(encoder, BertEncoder):
        return encoder.head(states_PTH, mask_PT)
    layer: Any = encoder.layers()[-1]  # a ModuleList does not say what it holds
    context_P1H = attend_first(layer.attention.self, states_PTH, mask_PT)
    attended_P1H = layer.attention.output(context_P1H, states_PTH[:, :1])
    return encoder.read(layer.feed_forward_chunk(attended_P1H))


def attend_first(attention: BertSelfAttention, states_PTH: Tensor, mask_PT: Tensor) -> Tensor:
    """BERT's self attention as the first token asks it, (P, 1, H)."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    query_PAD = attention.query(states_PTH[:, 0]).view(-1, heads, size) * attention.scaling
    asked_PAH = torch.einsum("pad,adh->pah", query_PAD, attention.key.weight.view(heads, size, -1))
    scores_PAT = asked_PAH @ states_PTH.transpose(1, 2)
    # Finite, so that the gradient at the padding is 0 and not NaN.
    nothing = torch.finfo(scores_PAT.dtype).min
    weight_PAT = scores_PAT.masked_fill(mask_PT[:, None] == 0, nothing).softmax(-1)
    mean_PAH = weight_PAT @ states_PTH
    context_PAD = torch.einsum(
        "pah,adh->pad", mean_PAH, attention.value.weight.view(heads, size, -1)
    )
    context_PAD = context_PAD + attention.value.bias.view(heads, size)
    return context_PAD.reshape(len(states_PTH), 1, -1)
