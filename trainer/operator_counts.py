"""What the graphs of a reranker must be made of: a fusion or a conversion that was missed costs speed, not scores.

Linear maps and norms are counted by the type of their weights, so that nothing is left in another precision, whatever
operators a graph has for them.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import onnx
from onnx import GraphProto, TensorProto
from torch import nn

from trainer.encoders import BertEncoder
from trainer.model import Reranker

FUSED_FAMILIES: Final = ("bert", "xlm-roberta")

LINEAR_MAPS: Final = {
    "Attention": 3,  # queries, keys and values
    "PackedAttention": 3,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
}
"""How many an operator computes, with weights that are its second input; where they are none, it maps nothing."""

NORMS: Final = {
    "EmbedLayerNormalization": 5,
    "LayerNormalization": 1,
    "SkipLayerNormalization": 2,
}
"""Which of its inputs, from 0, are the weights."""

CASTS: Final = 4
"""To float16, beside one after each skip norm: the first stage before and after its sum, the embeddings, a softmax."""
MATCH_CASTS: Final = 4
"""Of the lengths, the two sums and the softmax that it computes in float32."""

Counts = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The counts of every graph that is made of one reranker."""

    layers: int
    linear_maps: int
    norms: int
    matches: bool
    fused: bool

    @classmethod
    def of(cls, reranker: Reranker, *, family: str) -> Self:
        encoder = reranker.encoder
        modules = list(reranker.modules())
        return cls(
            layers=len(encoder.layers()),
            linear_maps=sum(isinstance(module, nn.Linear) for module in modules),
            norms=sum(isinstance(module, nn.LayerNorm) for module in modules),
            matches=isinstance(encoder, BertEncoder) and encoder.match is not None,
            fused=family in FUSED_FAMILIES,
        )

    def float32(self) -> Counts:
        return self._maps("float") | self._fusions("Attention")

    def int8(self) -> Counts:
        """Made from the graph that is not fused, and every linear map of it."""
        return self._maps("int8")

    def float16(self, *, attention: str = "Attention") -> Counts:
        casts = 2 * self.layers + CASTS + MATCH_CASTS * self.matches
        return (
            self._maps("float16")
            | self._fusions(attention)
            | ({"casts to float16": casts} if self.fused else {})
        )

    def packed(self) -> Counts:
        """As float16, with the last layer padded again."""
        once = {"RemovePadding": 1, "RestorePadding": 1}
        return self.float16(attention="PackedAttention") | once

    def _maps(self, weights: str) -> Counts:
        return {f"linear maps in {weights}": self.linear_maps, "norms in float": self.norms}

    def _fusions(self, attention: str) -> Counts:
        if not self.fused:
            return {}
        # The last layer asks for the first token alone, which is no attention of the whole sequence.
        return {attention: self.layers - 1, "SkipLayerNormalization": 2 * self.layers}


def differences(path: Path, expected: Counts) -> str | None:
    """What a graph has instead of what it should, as a sentence; None where it is as expected."""
    counted = count(path)
    found = {name: counted[name] for name in expected}
    return None if found == expected else f"{path.name}: operators are {found}, expected {expected}"


def count(path: Path) -> Counter[str]:
    """Operators by name, linear maps and norms by the type of their weights, and casts to float16."""
    graph = onnx.load(path, load_external_data=False).graph
    types = _weight_types(graph)
    counts: Counter[str] = Counter()
    for node in graph.node:
        counts[node.op_type] += 1
        if node.op_type in LINEAR_MAPS and node.input[1] in types:
            counts[f"linear maps in {types[node.input[1]]}"] += LINEAR_MAPS[node.op_type]
        if node.op_type in NORMS:
            counts[f"norms in {types[node.input[NORMS[node.op_type]]]}"] += 1
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16:
            counts["casts to float16"] += 1
    return counts


def _weight_types(graph: GraphProto) -> dict[str, str]:
    """As operators see them, by name. torch writes equal weights once, and Identities for the others."""
    types = {tensor.name: _name(tensor.data_type) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Identity", "Cast") and node.input[0] in types:
            to = node.attribute[0].i if node.op_type == "Cast" else None
            types[node.output[0]] = _name(to) if to else types[node.input[0]]
    return types


def _name(data_type: int) -> str:
    return TensorProto.DataType.Name(data_type).lower()
