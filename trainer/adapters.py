"""Low-rank adapters (PEFT's LoRA) beside the maps that make queries and values, in every layer.

    W' = W + up @ down        down (rank, in), up (out, rank), zero at first

While they are in, a forward of the reranker is that of W'. PEFT is imported when they are put in and no sooner: most
trainers never do.
Source: Hu et al. (2021), arXiv:2106.09685.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

from trainer.model import Reranker

RANK: Final = 8
SEED: Final = 0
"""Of every first `down`: all ranks start alike, and so does every try."""
_NAME: Final = "default"


class Adapters:
    """Put in when they are made; the reranker's own weights are neither trained nor changed."""

    def __init__(self, reranker: Reranker, *, rank: int) -> None:
        import peft  # noqa: PLC0415 -- see above

        config = peft.LoraConfig(
            r=rank, lora_alpha=rank, target_modules=list(reranker.encoder.queries_and_values)
        )
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(SEED)
            self._tuner: Any = peft.LoraModel(reranker, config, _NAME)
        self._layers: dict[str, Any] = {
            name: module
            for name, module in reranker.named_modules()
            if isinstance(module, peft.tuners.lora.LoraLayer)
        }

    @property
    def downs(self) -> list[nn.Parameter]:
        return [layer.lora_A[_NAME].weight for layer in self._layers.values()]

    @property
    def ups(self) -> list[nn.Parameter]:
        return [layer.lora_B[_NAME].weight for layer in self._layers.values()]

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """Each W', by the name that W has in the plain reranker."""
        return {
            f"{name}.weight": layer.base_layer.weight + layer.get_delta_weight(_NAME)
            for name, layer in self._layers.items()
        }

    def take_out(self) -> None:
        """The reranker's modules are its own again: the same objects, under the same names."""
        self._tuner.unload()
