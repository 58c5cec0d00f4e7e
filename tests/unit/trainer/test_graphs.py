import shutil
from functools import partial
from pathlib import Path

import pytest
from onnxruntime.quantization import quantize_dynamic

from tests import crossencoders
from trainer import base, graphs, operator_counts
from trainer.base import Base
from trainer.graphs import ExportRefused


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Base:
    """Of three layers."""
    return base.load(str(crossencoders.folder(tmp_path_factory.mktemp("bert"), "bert")))


@pytest.fixture(scope="session")
def raw(model: Base, tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("graphs") / "raw.onnx"
    graphs.export(model.reranker, path)
    return path


@pytest.fixture(scope="session")
def fused(model: Base, raw: Path) -> Path:
    graphs.fuse(raw, raw.with_name("fused.onnx"), reranker=model.reranker, family=model.family)
    return raw.with_name("fused.onnx")


def test_the_counts_of_a_fused_graph_are_those_of_its_layers(fused: Path):
    counts = operator_counts.count(fused)

    # Three layers of six maps, a pooler and a classifier; a norm of the embeddings and two in each layer.
    assert counts["linear maps in float"] == 3 * 6 + 2
    assert counts["norms in float"] == 1 + 3 * 2
    assert counts["Attention"] == 2
    assert counts["casts to float16"] == 0


def test_a_graph_that_was_not_fused_is_refused(model: Base, raw: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(graphs, "_optimize", lambda raw, path, **_: shutil.copyfile(raw, path))

    with pytest.raises(ExportRefused, match=r"out\.onnx.*'Attention': 0.*expected.*'Attention': 2"):
        graphs.fuse(raw, tmp_path / "out.onnx", reranker=model.reranker, family="bert")


def test_int8_that_leaves_linear_maps_out_is_refused(
    model: Base, raw: Path, tmp_path: Path, monkeypatch
):
    one = "/_reranker/layer.0/intermediate/dense/MatMul"
    monkeypatch.setattr(
        graphs, "quantize_dynamic", partial(quantize_dynamic, nodes_to_exclude=[one])
    )

    with pytest.raises(
        ExportRefused, match=r"'linear maps in int8': 19.*'linear maps in int8': 20"
    ):
        graphs.quantize(raw, tmp_path / "out.onnx", reranker=model.reranker, family="bert")


def test_float16_that_leaves_linear_maps_out_is_refused(
    model: Base, fused: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(graphs, "IN_FLOAT32", (*graphs.IN_FLOAT32, "Gemm"))

    with pytest.raises(ExportRefused, match=r"'linear maps in float16': 18.*: 20"):
        graphs.halve(fused, tmp_path / "out.onnx", reranker=model.reranker, family="bert")


def test_float16_that_converts_the_norms_is_refused(
    model: Base, fused: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(graphs, "IN_FLOAT32", ("Softmax", "ReduceL2", "ReduceSum", "Range"))

    with pytest.raises(ExportRefused, match="'norms in float': 0"):
        graphs.halve(fused, tmp_path / "out.onnx", reranker=model.reranker, family="bert")


@pytest.mark.parametrize("family", ["xlm-roberta", "modernbert"])
def test_a_model_of_one_layer_has_the_counts_of_one(family: str, tmp_path: Path):
    folder = crossencoders.folder(tmp_path / "base", family, num_hidden_layers=1)
    model = base.load(str(folder))
    raw, fused = tmp_path / "raw.onnx", tmp_path / "fused.onnx"

    graphs.export(model.reranker, raw)
    graphs.fuse(raw, fused, reranker=model.reranker, family=family)
    graphs.halve(fused, tmp_path / "half.onnx", reranker=model.reranker, family=family)
    graphs.quantize(raw, tmp_path / "int8.onnx", reranker=model.reranker, family=family)

    maps = {"xlm-roberta": 6 + 2, "modernbert": 4 + 2}[family]
    found = [operator_counts.count(tmp_path / name) for name in ("half.onnx", "int8.onnx")]
    assert [found[0]["linear maps in float16"], found[1]["linear maps in int8"]] == [maps, maps]
