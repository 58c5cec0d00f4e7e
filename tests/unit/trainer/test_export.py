import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import StringStringEntryProto, TensorProto

from contract.artifact import MANIFEST, Manifest, verified
from contract.first_stage import features
from tests import crossencoders
from trainer import base, export, graphs, reference
from trainer.export import Export, Parity
from trainer.graphs import ExportRefused
from trainer.scoring import Served


@pytest.fixture(scope="session", params=crossencoders.FAMILIES)
def exported(request, tmp_path_factory) -> Export:
    """A version of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    crossencoders.folder(folder / "base", request.param)
    return export.export_base(str(folder / "base"), folder / "version")


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Export:
    """The default base, as a line starts from it."""
    return export.export_base(base.MINILM, tmp_path_factory.mktemp("minilm") / "version")


def test_a_version_is_complete_and_verifies(exported: Export):
    manifest = exported.manifest

    assert verified(exported.folder, manifest.version) == manifest
    in_folder = {path.name for path in exported.folder.iterdir()} - {MANIFEST}
    assert in_folder == set(manifest.files)
    assert {variant.file for variant in manifest.variants.values()} < in_folder


def test_float32_scores_as_torch_does(exported: Export):
    assert exported.parity["float32"].max_difference < 1e-4
    assert exported.parity["float32"].agreement == 1


def test_golden_pairs_score_alone_as_the_manifest_says(exported: Export):
    manifest = exported.manifest
    served = Served.load(exported.folder, manifest, precision="float32", threads=1)

    again = [served.logits(each.query, each.candidates) for each in reference.golden()]

    expected = manifest.variants["float32"].golden_logits
    assert np.concatenate(again) == pytest.approx(expected, abs=1e-5)
    assert len(expected) == len(manifest.golden)


def test_golden_pairs_carry_the_features_of_their_lists():
    pairs = export.golden_pairs()

    first = reference.golden()[0]
    rows = features([candidate.score for candidate in first.candidates])
    assert [pair.query for pair in pairs[:2]] == [first.query] * 2
    assert [pair.first_stage for pair in pairs[:2]] == [tuple(row) for row in rows.tolist()]


def test_only_bert_has_the_input_for_token_types(exported: Export):
    manifest = exported.manifest
    graph = onnx.load(exported.folder / manifest.variants["float32"].file).graph

    names = [each.name for each in graph.input]

    assert ("token_type_ids" in names) == manifest.token_type_ids == (manifest.family == "bert")
    assert [each.name for each in graph.output] == ["logit"]


def test_float16_alone_has_its_weights_in_a_file_of_their_own(exported: Export):
    elsewhere = {
        name: {each.value for tensor in initializers(exported, name) for each in places(tensor)}
        for name in exported.manifest.variants
    }

    halves = {name for name in elsewhere if name.startswith("float16")}
    assert all(elsewhere[name] == {"model.fp16.weights"} for name in halves)
    assert not any(elsewhere[name] for name in set(elsewhere) - halves)


def test_a_packed_graph_adds_no_weights_to_a_version(exported: Export):
    if exported.manifest.family == "modernbert":
        assert "float16-packed" not in exported.manifest.variants
        return

    tensors = [initializers(exported, name) for name in ("float16", "float16-packed")]

    padded, packed = ({tensor.name: tensor for tensor in each} for each in tensors)
    assert packed == padded


def test_a_packed_graph_is_held_to_the_golden_pairs_of_float16(exported: Export):
    variants = exported.manifest.variants
    packed = variants.get("float16-packed", variants["float16"])

    assert packed.model_copy(update={"file": "model.fp16.onnx"}) == variants["float16"]
    assert "float16-packed" not in exported.parity


def initializers(exported: Export, precision: str) -> list[TensorProto]:
    file = exported.folder / exported.manifest.variants[precision].file
    return list(onnx.load(file, load_external_data=False).graph.initializer)


def places(tensor: TensorProto) -> list[StringStringEntryProto]:
    return [each for each in tensor.external_data if each.key == "location"]


@torch.no_grad()
def test_a_child_keeps_base_and_anchor_and_names_its_parent(tmp_path: Path):
    folder = crossencoders.folder(tmp_path / "base", "bert")
    model = base.load(str(folder))
    first = export.export(model, tmp_path / "first", precisions=["float32"]).manifest
    model.reranker.fusion.pair.fill_(3.0)
    model.reranker.fusion.bias.fill_(1.0)

    child = export.export(
        dataclasses.replace(model), tmp_path / "second", parent=first, precisions=["float32"]
    ).manifest

    assert (child.base, child.parent) == (first.base, first.version)
    assert child.anchor.base == first.anchor.base
    own, base_logits = np.array(child.anchor.own), np.array(first.anchor.own)
    assert own == pytest.approx(3 * base_logits + 1, abs=1e-4)
    colder = child.variants["float32"].temperature / first.variants["float32"].temperature
    # Three times the logits need three times the temperature, but for float32 rounding of the logits.
    assert colder == pytest.approx(3, rel=1e-3)


def test_the_manifest_on_disk_is_the_one_returned(exported: Export):
    written = Manifest.of_json((exported.folder / MANIFEST).read_bytes())

    assert written == exported.manifest


def test_weights_too_large_for_one_file_are_refused(tmp_path: Path, monkeypatch):
    loaded = base.load(str(crossencoders.folder(tmp_path / "base", "bert")))
    monkeypatch.setattr(graphs, "MAX_BYTES", 1000)

    with pytest.raises(ExportRefused, match="do not fit"):
        graphs.export(loaded.reranker, tmp_path / "raw.onnx")


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path):
    loaded = base.load(str(crossencoders.folder(tmp_path / "base", "bert")))
    with torch.no_grad():
        loaded.reranker.fusion.first_stage[1] = float("nan")

    with pytest.raises(ExportRefused, match="first_stage has weights that are not finite"):
        export.export(loaded, tmp_path / "out", precisions=["float32"])

    assert not (tmp_path / "out").exists()


def test_a_variant_that_ranks_otherwise_is_left_out_and_reported(tmp_path: Path, monkeypatch):
    folder = crossencoders.folder(tmp_path / "base", "bert")
    real = export.parity

    def worse(logits, exact, *, temperature):
        found = real(logits, exact, temperature=temperature)
        return found if found.max_difference < 1e-4 else Parity(max_difference=9.0, agreement=0.5)

    monkeypatch.setattr(export, "parity", worse)

    made = export.export_base(str(folder), tmp_path / "version")

    assert made.parity["int8"].agreement == 0.5
    assert set(made.manifest.variants) == {"float32"}
    left = {path.name for path in made.folder.iterdir()} - {MANIFEST}
    assert left == set(made.manifest.files)
    # Without float16, its weights and the packed graph go too.
    assert left == {"model.onnx", "tokenizer.json", "weights.safetensors"}


def test_the_default_base_serves_in_each_precision_as_it_was_trained(start: Export):
    assert set(start.manifest.variants) == {"float32", "int8", "float16", "float16-packed"}
    assert start.parity["float32"].max_difference < 1e-4
    assert start.parity["float16"].max_difference < 0.05
    for variant in start.manifest.variants.values():
        assert 0.5 < variant.temperature < 5
