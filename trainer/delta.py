"""A small difference between two models: low-rank factors for matrices, new values for a few small tensors.

    W' = W + up @ down        up (out, rank), down (rank, in)

While it is learned it lives inside the model; stored in half precision it is a small file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.model import Reranker

DOWN: Final = ".down"
UP: Final = ".up"


class LowRankLinear(nn.Module):
    """A frozen linear map plus a learned low-rank one, zero at first."""

    def __init__(self, frozen: nn.Linear, *, rank: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.down = nn.Parameter(torch.randn(rank, frozen.in_features) / frozen.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        summed: Tensor = self.frozen(inputs) + (inputs @ self.down.T) @ self.up.T
        return summed


def insert(reranker: Reranker, *, rank: int) -> None:
    """Makes the delta trainable, and nothing else.

    Low-rank: every matrix inside the layers. Whole: the layers' biases and norms, and what follows the layers.
    """
    for parameter in reranker.parameters():
        parameter.requires_grad = False
    for layer in reranker.encoder.layers():
        for parent, name, linear in list(_linears(layer)):
            setattr(parent, name, LowRankLinear(linear, rank=rank))
        for parameter in layer.parameters():
            if parameter.ndim == 1:
                parameter.requires_grad = True
    for module in reranker.encoder.added_modules():
        module.requires_grad_(requires_grad=True)


def learned(reranker: Reranker) -> dict[str, Tensor]:
    """The trainable tensors and the fusion weights, under the names of the plain model."""
    trainable = {name: p for name, p in reranker.named_parameters() if p.requires_grad}
    fusion = {f"fusion.{name}": p for name, p in reranker.fusion.named_parameters()}
    return {
        name.replace(".frozen", ""): tensor.detach().clone()
        for name, tensor in (trainable | fusion).items()
    }


def save(tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str]) -> None:
    """Stores a delta in half precision."""
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(half, path, metadata=dict(metadata))


def merge(reranker: Reranker, path: Path) -> None:
    """Adds a stored delta to a plain model."""
    stored = {k: v.to(torch.float32) for k, v in safetensors.torch.load_file(path).items()}
    merged = {name: value for name, value in stored.items() if not name.endswith((DOWN, UP))}
    weights = reranker.state()
    for name, down in stored.items():
        if name.endswith(DOWN):
            matrix = name.removesuffix(DOWN)
            update = stored[matrix + UP] @ down
            merged[f"{matrix}.weight"] = weights[f"{matrix}.weight"] + update
    reranker.load_state(weights | merged)


def _linears(layer: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for parent in layer.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                yield parent, name, child
