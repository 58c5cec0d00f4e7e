"""Cross-encoders of the supported families, cut before their last layer.

Where the family allows it, the last layer computes queries, output projection and feed-forward for the first token
alone, since nothing else is read (keys and values still cover all tokens).

Shapes: P pairs, T tokens, H hidden size.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import (
    BertForSequenceClassification,
    BertModel,
    ModernBertForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
)
from transformers.models.bert.modeling_bert import BertSelfAttention

MASKED: Final = -1e9
"""In place of a weight's logit where there is nothing to weigh: finite, so that no softmax is empty."""

TYPICAL_MATCH: Final = 0.69
"""Subtracted, so that the first token changes little at the start."""


class UnsupportedFamily(ValueError):
    """The model is no cross-encoder of the BERT, XLM-R or ModernBERT family."""


class Encoder(nn.Module, ABC):
    """A cross-encoder cut before its last layer."""

    config: PreTrainedConfig
    uses_token_types: bool
    queries_and_values: tuple[str, ...]
    """What a layer calls the maps that make them."""

    @abstractmethod
    def activations(
        self, input_ids_PT: Tensor, attention_mask_PT: Tensor, token_type_ids_PT: Tensor | None
    ) -> Tensor:
        """Hidden states entering the last layer, (P, T, H)."""

    @abstractmethod
    def head(self, activations_PTH: Tensor, attention_mask_PT: Tensor) -> Tensor:
        """Last layer, pooling and classifier: one logit for each pair, (P,)."""

    @abstractmethod
    def layers(self) -> nn.ModuleList: ...

    @abstractmethod
    def head_modules(self) -> list[nn.Module]:
        """What follows the last layer."""

    def added_modules(self) -> list[nn.Module]:
        """What is ours or a task's, and not the pretrained encoder's."""
        return self.head_modules()


class Match(nn.Module):
    """Tells the first token how well the document's tokens match the query's, before the last layer.

        match = sum_q weight_q max_d cos(h_q, h_d)      weight = softmax over the query's tokens

    The sentence encoder behind our default base was never trained to gather anything in its first token, but its
    tokens compare well: late interaction (Khattab and Zaharia 2020) gives it a start above its own cosine.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.attention = nn.Parameter(torch.zeros(hidden_size))
        self.direction = nn.Parameter(torch.zeros(hidden_size))

    def forward(
        self, states_PTH: Tensor, attention_mask_PT: Tensor, token_type_ids_PT: Tensor
    ) -> Tensor:
        document_PT = (token_type_ids_PT == 1) & (attention_mask_PT == 1)
        query_PT = (token_type_ids_PT == 0) & (attention_mask_PT == 1)
        unit_PTH = nn.functional.normalize(states_PTH, dim=-1)
        cosine_PTT = unit_PTH @ unit_PTH.transpose(1, 2)
        best_PT = cosine_PTT.masked_fill(~document_PT[:, None, :], -1.0).amax(-1)
        importance_PT = (states_PTH * self.attention).sum(-1)
        weight_PT = importance_PT.masked_fill(~query_PT, MASKED).softmax(-1)
        match_P = (weight_PT * best_PT).sum(-1)
        first_P1H = states_PTH[:, :1] + (match_P - TYPICAL_MATCH)[:, None, None] * self.direction
        return torch.cat([first_P1H, states_PTH[:, 1:]], dim=1)


class BertEncoder(Encoder):
    """BERT and XLM-R: post-norm layers, read at the first token."""

    queries_and_values = ("query", "value")

    def __init__(
        self,
        classifier: BertForSequenceClassification | XLMRobertaForSequenceClassification,
        *,
        match: bool = False,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = classifier.config
        self.match = Match(classifier.config.hidden_size) if match else None
        self.uses_token_types = classifier.config.type_vocab_size > 1

    @property
    def body(self) -> BertModel | XLMRobertaModel:
        if isinstance(self.classifier, BertForSequenceClassification):
            return self.classifier.bert
        return self.classifier.roberta

    def layers(self) -> nn.ModuleList:
        return self.body.encoder.layer

    def head_modules(self) -> list[nn.Module]:
        pooler = [] if self.body.pooler is None else [self.body.pooler]
        return [*pooler, self.classifier.classifier]

    def added_modules(self) -> list[nn.Module]:
        match = [] if self.match is None else [self.match]
        return [*match, *self.head_modules()]

    def activations(
        self, input_ids_PT: Tensor, attention_mask_PT: Tensor, token_type_ids_PT: Tensor | None
    ) -> Tensor:
        states_PTH: Tensor = self.body.embeddings(
            input_ids=input_ids_PT, token_type_ids=token_type_ids_PT
        )
        mask = self._mask(states_PTH, attention_mask_PT)
        for layer in self.layers()[:-1]:
            states_PTH = layer(states_PTH, mask)
        if self.match is not None:
            states_PTH = self.match(states_PTH, attention_mask_PT, token_type_ids_PT)
        return states_PTH

    def head(self, activations_PTH: Tensor, attention_mask_PT: Tensor) -> Tensor:
        layer: Any = self.layers()[-1]  # a ModuleList does not say what it holds
        first_P1H = activations_PTH[:, :1]
        mask = self._mask(activations_PTH, attention_mask_PT)
        context_P1H = _attend_first(layer.attention.self, activations_PTH, mask)
        attended_P1H = layer.attention.output(context_P1H, first_P1H)
        return self.read(layer.feed_forward_chunk(attended_P1H))

    def read(self, states_P1H: Tensor) -> Tensor:
        """From the first token's last state to a logit, (P,). XLM-R's classifier pools by itself."""
        pooler = self.body.pooler
        pooled = states_P1H if pooler is None else pooler(states_P1H)
        logits_P1: Tensor = self.classifier.classifier(pooled)
        return logits_P1.reshape(-1)

    def _mask(self, states_PTH: Tensor, attention_mask_PT: Tensor) -> Tensor | None:
        # transformers' own mask, since ONNX Runtime's fusions look for exactly that.
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=states_PTH, attention_mask=attention_mask_PT
        )
        # A BlockMask is for flex attention alone.
        return mask if isinstance(mask, Tensor) else None


class ModernBertEncoder(Encoder):
    """ModernBERT: pre-norm layers with rotary positions, some of them over a window."""

    uses_token_types = False
    queries_and_values = ("Wqkv",)  # one map makes them, and the keys with them

    def __init__(self, classifier: ModernBertForSequenceClassification) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = classifier.config

    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.classifier.model.layers
        return layers

    def head_modules(self) -> list[nn.Module]:
        return [self.classifier.model.final_norm, self.classifier.head, self.classifier.classifier]

    def activations(
        self,
        input_ids_PT: Tensor,
        attention_mask_PT: Tensor,
        token_type_ids_PT: Tensor | None,  # noqa: ARG002 -- this family has none
    ) -> Tensor:
        states_PTH = self.classifier.model.embeddings(input_ids=input_ids_PT)
        return self._through(self.layers()[:-1], states_PTH, attention_mask_PT)

    def head(self, activations_PTH: Tensor, attention_mask_PT: Tensor) -> Tensor:
        states_PTH = self._through(self.layers()[-1:], activations_PTH, attention_mask_PT)
        states_PTH = self.classifier.model.final_norm(states_PTH)
        pooled_PH = self._pool(states_PTH, attention_mask_PT)
        logits_P1: Tensor = self.classifier.classifier(self.classifier.head(pooled_PH))
        return logits_P1.reshape(-1)

    def _through(
        self, layers: Iterable[nn.Module], states_PTH: Tensor, attention_mask_PT: Tensor
    ) -> Tensor:
        positions_1T = torch.arange(states_PTH.shape[1], device=states_PTH.device)[None]
        rotary = self.classifier.model.rotary_emb
        masks = self._masks(states_PTH, attention_mask_PT)
        layer: Any  # a ModuleList does not say what it holds
        for layer in layers:
            states_PTH = layer(
                states_PTH,
                attention_mask=masks[layer.attention_type],
                position_embeddings=rotary(states_PTH, positions_1T, layer.attention_type),
            )
        return states_PTH

    def _masks(self, states_PTH: Tensor, attention_mask_PT: Tensor) -> dict[str, Tensor | None]:
        makers = {
            "full_attention": create_bidirectional_mask,
            "sliding_attention": create_bidirectional_sliding_window_mask,
        }
        made = {
            name: make(
                config=self.config, inputs_embeds=states_PTH, attention_mask=attention_mask_PT
            )
            for name, make in makers.items()
        }
        return {name: mask if isinstance(mask, Tensor) else None for name, mask in made.items()}

    def _pool(self, states_PTH: Tensor, attention_mask_PT: Tensor) -> Tensor:
        if self.classifier.config.classifier_pooling == "cls":
            return states_PTH[:, 0]
        mask_PT1 = attention_mask_PT[..., None].to(states_PTH.dtype)
        return (states_PTH * mask_PT1).sum(1) / mask_PT1.sum(1)


def of(classifier: PreTrainedModel, *, match: bool = False) -> Encoder:
    """Raises `UnsupportedFamily`."""
    if isinstance(classifier, BertForSequenceClassification | XLMRobertaForSequenceClassification):
        return BertEncoder(classifier, match=match)
    if isinstance(classifier, ModernBertForSequenceClassification):
        return ModernBertEncoder(classifier)
    message = f"{type(classifier).__name__} is not supported: take BERT, XLM-R or ModernBERT"
    raise UnsupportedFamily(message)


def _attend_first(attention: BertSelfAttention, states_PTH: Tensor, mask: Tensor | None) -> Tensor:
    """BERT's self attention, asked for the first token only, (P, 1, H)."""

    def heads(projected: Tensor) -> Tensor:
        shape = (*projected.shape[:2], attention.num_attention_heads, attention.attention_head_size)
        return projected.view(shape).transpose(1, 2)

    first_P1H = states_PTH[:, :1]
    query, key = heads(attention.query(first_P1H)), heads(attention.key(states_PTH))
    scores = query @ key.transpose(2, 3) * attention.scaling
    if mask is not None:
        scores = scores + mask[:, :, :1]
    context: Tensor = scores.softmax(-1) @ heads(attention.value(states_PTH))
    return context.transpose(1, 2).reshape(first_P1H.shape)
