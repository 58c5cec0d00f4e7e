"""From torch to ONNX: one graph exported as it is, and from it the graphs that serve.

float32 is fused for speed (BERT, XLM-R) or as exported (ModernBERT, for which ONNX Runtime has no fusion). int8 is
dynamic and made from the unfused graph, since fused attention would stay in float32. float16 is made from the
fused graph, with norms, softmax and logit in float32; packed, it is the same without padding, for CUDA alone.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import ModelProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor, nn

from contract.first_stage import FEATURES
from trainer import operator_counts, packing
from trainer.model import Reranker
from trainer.operator_counts import FUSED_FAMILIES, Counts, Expected

OPSET: Final = 17
MAX_BYTES: Final = 2**31 - 2**24
"""One file without external data is one protobuf message, and that ends at 2 GiB."""

IN_FLOAT32: Final = (
    *("LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"),
    *("Softmax", "ReduceL2", "ReduceSum", "Range"),
)


class ExportRefused(ValueError):
    """The exported graph is not what we serve; the message says what differs."""


def export(reranker: Reranker, path: Path) -> None:
    """The whole model, fusion with the first stage included, as torch writes it.  Raises `ExportRefused`."""
    size = sum(tensor.numel() * 4 for tensor in reranker.parameters())
    if size > MAX_BYTES:
        message = f"{size / 2**30:.1f} GiB of weights do not fit into one file of 2 GiB"
        raise ExportRefused(message)
    names = ["input_ids", "attention_mask", "token_type_ids", "first_stage"]
    inputs = list(_example())
    if not reranker.encoder.uses_token_types:
        del names[2], inputs[2]
    axes = {name: {0: "pairs", 1: "tokens"} for name in names}
    axes |= {"first_stage": {0: "pairs"}, "logit": {0: "pairs"}}
    with _quietly():
        torch.onnx.export(
            _Graph(reranker).eval(),
            tuple(inputs),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["logit"],
            dynamic_axes=axes,
        )


def fuse(raw: Path, path: Path, *, reranker: Reranker, family: str) -> None:
    """Writes the float32 graph that serves.  Raises `ExportRefused` where a fusion is missing."""
    if family in FUSED_FAMILIES:
        _optimize(raw, path, reranker=reranker)
    else:
        path.write_bytes(raw.read_bytes())
    _refuse_other(path, Expected.of(reranker, family=family).float32())


def quantize(raw: Path, path: Path, *, reranker: Reranker, family: str) -> None:
    """Dynamic int8: weights of the linear maps per channel, activations per run.

    Raises `ExportRefused` where a linear map was left as it was.
    """
    with _quietly():
        quantize_dynamic(
            raw,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    _refuse_other(path, Expected.of(reranker, family=family).int8())


def halve(fused: Path, path: Path, *, reranker: Reranker, family: str) -> None:
    """Float16 weights and activations; inputs, logit and what loses by it stay float32.

    Weights are in a file of their own beside `path`, ending with `.weights`.  Raises `ExportRefused` where more or less
    than that was converted.
    """
    weights = path.with_suffix(".weights")
    weights.unlink(missing_ok=True)  # onnx would append to it
    with _quietly():
        model = _halved(onnx.load(fused))
    onnx.save_model(model, path, save_as_external_data=True, location=weights.name)
    _refuse_other(path, Expected.of(reranker, family=family).float16())


def can_pack(reranker: Reranker, *, family: str) -> bool:
    """Whether there is attention of the whole sequence, in a form that ONNX Runtime packs."""
    return family in FUSED_FAMILIES and len(reranker.encoder.layers()) > 1


def halve_packed(fused: Path, path: Path, *, reranker: Reranker, family: str, halved: Path) -> None:
    """The float16 graph without padding; its weights are those of `halved`, which lies beside it.

    Raises `ExportRefused` where more or less than that was packed or converted.
    """
    with _quietly():
        model = _halved(packing.packed(onnx.load(fused)))
    packing.share_weights(model, owner=halved)
    path.write_bytes(model.SerializeToString())
    _refuse_other(path, Expected.of(reranker, family=family).packed())


def _halved(graph: ModelProto) -> ModelProto:
    model = OnnxModel(graph)
    blocked = [*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32, *packing.IN_FLOAT32]
    model.convert_float_to_float16(keep_io_types=True, op_block_list=blocked)
    model.topological_sort()
    halved: ModelProto = model.model
    return halved


def _optimize(raw: Path, path: Path, *, reranker: Reranker) -> None:
    config = reranker.encoder.config
    with _quietly():
        fused = optimizer.optimize_model(
            str(raw),
            model_type="bert",
            num_heads=config.num_attention_heads,
            hidden_size=config.hidden_size,
            opt_level=0,
        )
        fused.save_model_to_file(str(path))


def _refuse_other(path: Path, expected: Counts) -> None:
    differences = operator_counts.differences(path, expected)
    if differences is not None:
        raise ExportRefused(differences)


class _Graph(nn.Module):
    """The reranker with the inputs of its graph, in their order."""

    def __init__(self, reranker: Reranker) -> None:
        super().__init__()
        self._reranker = reranker

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *rest: Tensor) -> Tensor:
        token_type_ids = rest[0] if self._reranker.encoder.uses_token_types else None
        logits: Tensor = self._reranker(input_ids, attention_mask, token_type_ids, rest[-1])
        return logits


@contextmanager
def _quietly() -> Iterator[None]:
    """The converters warn of what we know.

    torch calls its TorchScript exporter deprecated, but only its graphs are fused by ONNX Runtime; weights under
    the smallest float16 become 0; a graph may be optimised before it is quantised, and ours must not be.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _example() -> tuple[Tensor, ...]:
    """Two pairs of eight tokens, one of them padded: any input would do, but padding must be traced."""
    ids = torch.zeros(2, 8, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    types = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).expand(2, 8)
    return ids, mask, types, torch.zeros(2, len(FEATURES))
