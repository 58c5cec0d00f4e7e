"""Padding-free graphs for CUDA: between the embeddings and the last layer, no operator sees a padding token.

`RemovePadding` drops padding before the first attention, `PackedAttention` keeps the pairs apart, and `RestorePadding`
puts padding back before the last layer, which asks for the first token of each pair. ONNX Runtime has these operators
for CUDA alone.
"""

from pathlib import Path
from typing import Final

import onnx
from onnx import ModelProto, NodeProto
from onnx.external_data_helper import uses_external_data
from onnxruntime.transformers.convert_to_packing_mode import PackingAttention
from onnxruntime.transformers.onnx_model import OnnxModel

IN_FLOAT32: Final = ("RemovePadding",)
"""When a packed graph is halved: the first skip norm takes the embeddings as they are, as without packing."""


def packed(fused: ModelProto) -> ModelProto:
    """From a graph of two layers or more, whose attention takes the number of each pair's tokens as its mask."""
    model = OnnxModel(fused)
    _Packing(model).convert(use_symbolic_shape_infer=False)
    model.topological_sort()
    result: ModelProto = model.model
    return result


def share_weights(model: ModelProto, *, owner: Path) -> None:
    """Takes the weights from where `owner`, a graph that will lie beside this one, has its own in another file."""
    filled = onnx.load(owner).graph.initializer
    places = onnx.load(owner, load_external_data=False).graph.initializer
    shared = {
        place.name: (place, tensor.raw_data)
        for place, tensor in zip(places, filled, strict=True)
        if uses_external_data(place)
    }
    for tensor in model.graph.initializer:
        place, data = shared.get(tensor.name, (None, b""))
        if place is not None and place.data_type == tensor.data_type and data == tensor.raw_data:
            tensor.CopyFrom(place)


class _Packing(PackingAttention):  # type: ignore[misc]  # it is not typed
    """ONNX Runtime's own conversion, but for where it ends: it expects the last norm of all at the end of the graph."""

    def _try_getting_last_layernorm(self) -> NodeProto:
        """The second norm after the last attention of all tokens: there its layer ends."""
        nodes = self.model.nodes()
        after = nodes[nodes.index(self.attention_nodes[-1]) :]
        norms: list[NodeProto] = [
            node for node in after if node.op_type == "SkipLayerNormalization"
        ]
        return norms[1]
