"""The reranker in torch: a cross-encoder of any supported family, fused with the first stage.

    logit = w_pair * cross_encoder(pair) + w_first_stage . first_stage + bias

It is cut before its last layer, so that a trainer can cache what enters that layer: `activations` then
`head_forward` is `forward`.

Shapes: P pairs, T tokens, H hidden size, F first-stage features.
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contract.first_stage import FEATURES
from trainer import encoders


class Fusion(nn.Module):
    """Weighs the cross-encoder's logit against what the first stage said. Starts as the cross-encoder alone."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Parameter(torch.ones(()))
        self.first_stage = nn.Parameter(torch.zeros(len(FEATURES)))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, pair_logits_P: Tensor, first_stage_PF: Tensor) -> Tensor:
        first_stage_P = (first_stage_PF * self.first_stage).sum(-1)
        return self.pair * pair_logits_P + first_stage_P + self.bias


class Reranker(nn.Module):
    """A cross-encoder fused with the first stage."""

    def __init__(self, classifier: PreTrainedModel, *, match: bool = False) -> None:
        super().__init__()
        self.encoder = encoders.of(classifier, match=match)
        self.fusion = Fusion()

    def forward(
        self,
        input_ids_PT: Tensor,
        attention_mask_PT: Tensor,
        token_type_ids_PT: Tensor | None,
        first_stage_PF: Tensor,
    ) -> Tensor:
        """One logit for each pair, (P,)."""
        activations_PTH = self.encoder.activations(
            input_ids_PT, attention_mask_PT, token_type_ids_PT
        )
        return self.head_forward(activations_PTH, attention_mask_PT, first_stage_PF)

    @torch.no_grad()
    def activations(
        self,
        input_ids_PT: Tensor,
        attention_mask_PT: Tensor,
        token_type_ids_PT: Tensor | None = None,
    ) -> Tensor:
        """Hidden states entering the last layer, (P, T, H), without gradient: what a round caches."""
        states: Tensor = self.encoder.activations(
            input_ids_PT, attention_mask_PT, token_type_ids_PT
        )
        return states

    def head_forward(
        self, activations_PTH: Tensor, attention_mask_PT: Tensor, first_stage_PF: Tensor
    ) -> Tensor:
        """From cached activations to logits, (P,)."""
        pair_logits_P = self.encoder.head(activations_PTH, attention_mask_PT)
        fused: Tensor = self.fusion(pair_logits_P, first_stage_PF)
        return fused

    def fusion_parameters(self) -> list[nn.Parameter]:
        return list(self.fusion.parameters())

    def last_layer_parameters(self) -> list[nn.Parameter]:
        """Last encoder layer, pooler, classifier and fusion."""
        return [*self.encoder.layers()[-1].parameters(), *self.head_parameters()]

    def head_parameters(self) -> list[nn.Parameter]:
        """What follows the last layer: pooler, classifier and fusion."""
        modules = [*self.encoder.head_modules(), self.fusion]
        return list(chain.from_iterable(module.parameters() for module in modules))

    def state(self) -> dict[str, Tensor]:
        """All weights, float32, by name."""
        return {
            name: tensor.detach().to(torch.float32).contiguous()
            for name, tensor in self.state_dict().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.load_state_dict(dict(state))

    def save(self, path: Path) -> None:
        safetensors.torch.save_file(self.state(), path)

    def load(self, path: Path) -> None:
        self.load_state(safetensors.torch.load_file(path))
