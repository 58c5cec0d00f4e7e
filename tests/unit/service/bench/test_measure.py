from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from contract.artifact import ArtifactRejected
from service.bench import measure
from service.bench.measure import _Bench, _fit
from service.bench.rig import Rig
from service.bench.trial import Arm
from service.device import CPU, CUDA, Runtime
from service.settings import Precision
from tests import models


@dataclass
class FakeScorer:
    one_by_one: bool


class FakeRig:
    def scorer(self, arm: Arm) -> FakeScorer:
        return FakeScorer(one_by_one=arm.precision == "int8")


def arms(provider: str, *fit: Precision) -> list[tuple[str, int, int]]:
    bench = _Bench(
        rig=cast("Rig", FakeRig()),
        folder=Path(),
        manifest=cast("Any", None),
        runtime=Runtime(provider=provider, threads=2),
        requests=[],
        fit=fit,
        told=print,
    )
    return sorted((arm.precision, arm.threads, arm.batch_tokens) for arm in bench._arms)


def test_on_a_cpu_threads_and_batches_are_tried_but_no_batches_where_pairs_run_alone() -> None:
    found = arms(CPU, Precision.INT8, Precision.FLOAT32)

    assert found == [
        *(("float32", 1, tokens) for tokens in (512, 1024, 2048, 4096)),
        *(("float32", 2, tokens) for tokens in (512, 1024, 2048, 4096)),
        ("int8", 1, 1024),
        ("int8", 2, 1024),
    ]


def test_on_a_gpu_batches_are_tried_and_no_threads() -> None:
    found = arms(CUDA, Precision.FLOAT16)

    assert found == [("float16", 2, tokens) for tokens in (4096, 8192, 16384, 32768)]


def fit(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    provider: str,
    probed: Callable[[Precision], dict[Precision, float]],
) -> list[Precision]:
    """Of a version with all variants."""

    def apart(
        _: object, __: Path, *, precision: Precision, **___: object
    ) -> dict[Precision, float]:
        return probed(precision)

    monkeypatch.setattr(measure, "apart", apart)
    models.make(folder / "version", precisions=tuple(Precision)[1:])
    manifest = models.manifest(folder / "version")
    return _fit(folder, manifest, Runtime(provider=provider, threads=2))


def test_on_a_cpu_the_quickest_precision_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def probed(_: Precision) -> dict[Precision, float]:
        return {Precision.FLOAT32: 0.2, Precision.INT8: 0.1}

    found = fit(monkeypatch, tmp_path, provider=CPU, probed=probed)

    assert found == [Precision.INT8, Precision.FLOAT32]


def test_on_a_gpu_those_are_tried_too_that_the_service_would_not_look_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def probed(precision: Precision) -> dict[Precision, float]:
        if precision is Precision.FLOAT16:
            raise ArtifactRejected("a golden pair scores otherwise")
        chosen = Precision.FLOAT16_PACKED if precision is Precision.AUTO else precision
        return {chosen: 0.0}

    found = fit(monkeypatch, tmp_path, provider=CUDA, probed=probed)

    assert found == [Precision.FLOAT16_PACKED, Precision.FLOAT32]
