from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from tests import crossencoders, packing_on_cpu
from trainer import base, graphs, operator_counts, packing
from trainer.base import Base
from trainer.graphs import ExportRefused

LENGTHS = (9, 3, 1, 6)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def model(request, tmp_path_factory) -> Base:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return base.load(str(crossencoders.folder(folder, request.param)))


@pytest.fixture(scope="module")
def fused(model: Base, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("graphs")
    graphs.export(model.reranker, folder / "raw.onnx")
    graphs.fuse(
        folder / "raw.onnx",
        folder / "fused.onnx",
        reranker=model.reranker,
        family=model.family,
    )
    return folder / "fused.onnx"


def test_a_packed_graph_scores_as_the_padded_one(model: Base, fused: Path):
    padded = onnx.load(fused)
    packed = packing_on_cpu.given_to(packing.packed(onnx.load(fused)))

    # As far as float32 sums differ in another order.
    assert logits(packed, model) == pytest.approx(logits(padded, model), abs=1e-5)


def test_tokens_are_packed_once_and_padded_again_for_the_last_layer(fused: Path):
    nodes = packing.packed(onnx.load(fused)).graph.node

    order = [node.op_type for node in nodes if "Pa" in node.op_type]
    assert order == ["RemovePadding", "PackedAttention", "PackedAttention", "RestorePadding"]
    # Of three layers' two skip norms each, those of the last one come after.
    padded_again = [node.op_type for node in nodes].index("RestorePadding")
    norms = [i for i, node in enumerate(nodes) if node.op_type == "SkipLayerNormalization"]
    assert [i < padded_again for i in norms] == [True] * 4 + [False] * 2


def test_packed_float16_counts_as_float16_does_but_for_what_packs(
    model: Base, fused: Path, tmp_path: Path
):
    half, packed = halved(model, fused, tmp_path)

    with_padding, without = operator_counts.count(half), operator_counts.count(packed)

    differ = {name for name in with_padding | without if with_padding[name] != without[name]}
    assert differ == {"Attention", "PackedAttention", "RemovePadding", "RestorePadding"}
    assert without["PackedAttention"] == with_padding["Attention"] == 2


def test_a_graph_that_packs_less_than_every_layer_is_refused(
    model: Base, fused: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(packing, "packed", lambda graph: graph)

    with pytest.raises(ExportRefused, match=r"'PackedAttention': 0.*'PackedAttention': 2"):
        halved(model, fused, tmp_path)


def test_weights_that_differ_are_not_shared(model: Base, fused: Path, tmp_path: Path):
    half, _ = halved(model, fused, tmp_path)
    other = onnx.load(half)
    words = next(each for each in other.graph.initializer if "word_embeddings" in each.name)
    words.raw_data = bytes(len(words.raw_data))

    packing.share_weights(other, owner=half)

    own = [each.name for each in other.graph.initializer if len(each.raw_data) > 1024]
    assert own == [words.name]


def halved(model: Base, fused: Path, folder: Path) -> tuple[Path, Path]:
    half, packed = folder / "half.onnx", folder / "packed.onnx"
    names: dict[str, Any] = {"reranker": model.reranker, "family": model.family}
    graphs.halve(fused, half, **names)
    graphs.halve_packed(fused, packed, **names, halved=half)
    return half, packed


def logits(graph: ModelProto, model: Base) -> NDArray[np.float32]:
    """Of four pairs, three of them padded."""
    rng = np.random.default_rng(0)
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    inputs = {
        "input_ids": np.where(mask, rng.integers(4, 300, mask.shape), model.pad_id),
        "attention_mask": mask,
        "first_stage": rng.normal(size=(len(LENGTHS), 3)).astype(np.float32),
    }
    if model.reranker.encoder.uses_token_types:
        inputs["token_type_ids"] = mask * (np.arange(max(LENGTHS)) > 3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["logit"], inputs)[0])
