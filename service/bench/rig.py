"""A version on this machine, with any settings: its scorers and batchers are the service's own."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from contract.artifact import Manifest
from service.batching import Batcher
from service.bench.requests import Prepared
from service.bench.trial import Arm
from service.device import Runtime
from service.metrics import Metrics
from service.score import Scorer

CPU_BATCHES: Final = (512, 1024, 2048, 4096)
CUDA_BATCHES: Final = (4096, 8192, 16384, 32768)


def thread_counts(cores: int) -> list[int]:
    """All cores, half of them, and so on down to one; half is often one for each physical core."""
    return sorted({max(1, cores >> shift) for shift in range(cores.bit_length())})


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One answer to requests that came together."""

    seconds: float
    logits: list[NDArray[np.float64]]
    """For each request, (n,)."""


class Rig:
    """Scores requests with the settings that are asked for. Not safe to call from several threads."""

    def __init__(self, folder: Path, manifest: Manifest, *, runtime: Runtime) -> None:
        self._folder = folder
        self._manifest = manifest
        self._runtime = runtime
        self._scorers: dict[tuple[str, int], Scorer] = {}
        self._warmed: set[Arm] = set()
        self._batchers: dict[int, Batcher] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    async def score(self, arm: Arm, requests: Sequence[Prepared]) -> Timed:
        """All of them at once, from the first one handed in to the last one answered."""
        scorer, batcher = self._warm(arm), self._batcher(arm.batch_tokens)
        start = time.perf_counter()
        found = await asyncio.gather(
            *(batcher.score(scorer, each.pairs, first_stage=each.first_stage) for each in requests)
        )
        return Timed(
            seconds=time.perf_counter() - start, logits=[scored.logits for scored in found]
        )

    def scorer(self, arm: Arm) -> Scorer:
        """Settings that differ in the size of their batches share it."""
        key = (arm.precision, arm.threads)
        if key not in self._scorers:
            runtime = replace(self._runtime, threads=arm.threads)
            self._scorers[key] = Scorer.load(
                self._folder, self._manifest, precision=arm.precision, runtime=runtime
            )
        return self._scorers[key]

    def _warm(self, arm: Arm) -> Scorer:
        """As the service warms it: on a GPU, kernels are chosen by the size of a batch."""
        scorer = self.scorer(arm)
        if arm not in self._warmed:
            scorer.warm_up(tokens=arm.batch_tokens if self._runtime.is_cuda else 1)
            self._warmed.add(arm)
        return scorer

    def _batcher(self, tokens: int) -> Batcher:
        if tokens not in self._batchers:
            batcher = self._open.enter_context(Batcher(Metrics(), budget_tokens=tokens))
            self._batchers[tokens] = batcher
        return self._batchers[tokens]
