from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from service.bench.measure import _Bench
from service.bench.rig import Rig
from service.bench.trial import Arm
from service.device import CPU, CUDA, Runtime
from service.settings import Precision


@dataclass
class FakeScorer:
    one_by_one: bool


class FakeRig:
    def scorer(self, arm: Arm) -> FakeScorer:
        return FakeScorer(one_by_one=arm.precision == "int8")


def arms(provider: str, fit: Mapping[Precision, float]) -> list[tuple[str, int, int]]:
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
    found = arms(CPU, {Precision.FLOAT32: 2.0, Precision.INT8: 1.0})

    assert found == [
        *(("float32", 1, tokens) for tokens in (512, 1024, 2048, 4096)),
        *(("float32", 2, tokens) for tokens in (512, 1024, 2048, 4096)),
        ("int8", 1, 1024),
        ("int8", 2, 1024),
    ]


def test_on_a_gpu_batches_are_tried_and_no_threads() -> None:
    found = arms(CUDA, {Precision.FLOAT16: 0.0})

    assert found == [("float16", 2, tokens) for tokens in (4096, 8192, 16384, 32768)]
