from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.artifact import MANIFEST, ArtifactRejected, Manifest
from service import probe
from service.device import CPU, CUDA, Runtime
from service.score import Scorer
from service.settings import Precision
from tests import models

RUNTIME = Runtime(provider=CPU, threads=1)
DOCUMENTS = ["one", "another one", "a longer one than the others", ""]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.make(tmp_path / "version", seed=4, precisions=("float32", "int8"))
    return tmp_path / "version"


def manifest(folder: Path, **changes: Any) -> Manifest:
    whole = Manifest.of_json((folder / MANIFEST).read_bytes())
    return whole.model_copy(update=changes)


def load(folder: Path, precision: str = "float32", **changes: Any) -> Scorer:
    return Scorer.load(folder, manifest(folder, **changes), precision=precision, runtime=RUNTIME)


def test_a_batch_scores_as_each_pair_alone(folder: Path) -> None:
    scorer = load(folder)

    found = scorer.logits(scorer.tokenizer.pairs("q", DOCUMENTS), np.zeros((4, 3), np.float32))

    alone = models.logits(folder, "q", DOCUMENTS, np.zeros((4, 3)))
    assert found.dtype == np.float64
    assert found == pytest.approx(alone, abs=1e-5)


def test_golden_pairs_pass_after_warming_up(folder: Path) -> None:
    scorer = load(folder)

    scorer.warm_up(tokens=1024)
    scorer.check_golden()


@pytest.mark.parametrize("expected", [0.0, float("nan")])
def test_another_score_of_a_golden_pair_is_refused(folder: Path, expected: float) -> None:
    whole = manifest(folder)
    variant = whole.variants["float32"].model_copy(update={"golden_logits": (expected,) * 3})

    scorer = load(folder, variants={"float32": variant})

    with pytest.raises(ArtifactRejected, match="golden pair"):
        scorer.check_golden()


def test_a_file_that_is_no_graph_is_refused(folder: Path) -> None:
    (folder / "float32.onnx").write_bytes(b"not a graph")

    with pytest.raises(ArtifactRejected, match=r"refuses float32\.onnx"):
        load(folder)


def test_only_what_is_packed_runs_without_padding(folder: Path) -> None:
    scorer = load(folder)
    assert not scorer.packed

    scorer.precision = "float16-packed"
    assert scorer.packed


def test_int8_takes_one_pair_at_a_time(folder: Path) -> None:
    assert load(folder, "int8").one_by_one
    assert not load(folder, "float32").one_by_one


@pytest.mark.parametrize(
    ("precision", "provider", "expected"),
    [
        (Precision.AUTO, CPU, ["float32", "int8"]),
        (Precision.AUTO, CUDA, ["float32"]),
        (Precision.INT8, CPU, ["int8"]),
        (Precision.FLOAT32, CUDA, ["float32"]),
    ],
)
def test_the_candidates_are_what_suits_the_device(
    folder: Path, precision: Precision, provider: str, expected: list[str]
) -> None:
    found = probe.candidates(manifest(folder), precision=precision, is_cuda=provider == CUDA)

    assert found == expected


def test_a_gpu_takes_the_first_precision_that_is_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the CPU is in its place, and the packed graph scores as no golden pair does."""
    every = ("float32", "float16", "float16-packed")
    models.make(tmp_path / "version", seed=4, precisions=every)
    models.make(tmp_path / "other", seed=5, precisions=every)
    wrong = (tmp_path / "other" / "float16-packed.onnx").read_bytes()
    (tmp_path / "version" / "float16-packed.onnx").write_bytes(wrong)
    on_cpu = partial(Runtime.session, RUNTIME)
    monkeypatch.setattr(Runtime, "session", lambda _, model: on_cpu(model))

    found = probe.main(tmp_path / "version", provider=CUDA, threads=1, precision=Precision.AUTO)

    assert found == {"float16": 0.0}


def test_a_precision_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactRejected, match="no variant float16"):
        probe.candidates(manifest(folder), precision=Precision.FLOAT16, is_cuda=False)


def test_the_probe_times_every_candidate(folder: Path) -> None:
    seconds = probe.main(folder, provider=CPU, threads=1, precision=Precision.AUTO)

    assert set(seconds) == {"float32", "int8"}
    assert all(0 < value < 60 for value in seconds.values())


def test_the_probe_leaves_out_what_is_not_fit_here(folder: Path) -> None:
    (folder / "int8.onnx").write_bytes(b"not a graph")

    assert probe.main(folder, provider=CPU, threads=1, precision=Precision.AUTO) == {"float32": 0.0}


def test_the_probe_refuses_when_none_is_fit(folder: Path) -> None:
    (folder / "int8.onnx").write_bytes(b"not a graph")
    (folder / "float32.onnx").write_bytes(b"not a graph")

    with pytest.raises(ArtifactRejected, match=r"refuses float32\.onnx"):
        probe.main(folder, provider=CPU, threads=1, precision=Precision.AUTO)
