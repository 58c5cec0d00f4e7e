"""One measurement from end to end: the trial over all settings, then a closer look at those that are left."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Final

from contract.artifact import ArtifactRejected, Manifest
from contract.refusals import Refusal
from service import probe
from service.bench import look
from service.bench.apart import apart, peak_bytes
from service.bench.look import Look
from service.bench.requests import Prepared, Request, resized, waves
from service.bench.rig import CPU_BATCHES, CUDA_BATCHES, Rig, thread_counts
from service.bench.trial import Arm, Trial, halved, simplest
from service.device import Runtime
from service.settings import Precision

EXACT: Final = Precision.FLOAT32
_LOOK_SHARE: Final = 1 / 3
"""Of the time: for the closer look."""


class AllDiffer(Refusal):
    """No precision that serves here ranks as float32 does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known in the end."""

    version: str
    provider: str
    cores: int
    default: Arm
    """What the service does when nothing is set; it took part in every round."""
    recommended: Arm
    trial: Trial
    looks: Mapping[Arm, Look]
    """Of the settings that were left."""
    documents_s: float
    """Documents a second by default."""
    tokens_s: float
    """Tokens a second by default, padding not counted."""
    min_overlap: float

    def speed(self, arm: Arm) -> float:
        """Documents a second."""
        return self.documents_s / self.trial.slowness(arm)

    def tokens_speed(self, arm: Arm) -> float:
        """Tokens a second."""
        return self.tokens_s / self.trial.slowness(arm)

    @property
    def excluded(self) -> list[str]:
        """Precisions whose first ten are too often others than those of float32."""
        return sorted(
            {arm.precision for arm, each in self.looks.items() if each.differs(self.min_overlap)}
        )


def measured(
    folder: Path,
    requests: Sequence[Request],
    *,
    manifest: Manifest,
    runtime: Runtime,
    seconds: float,
    min_overlap: float,
    told: Callable[[str], object],
) -> Measured:
    """Measures for about so long; slow models on few cores take longer.

    min_overlap: of the first ten with those of float32, for a precision to be recommended.
    told: what goes on.  Raises `ArtifactRejected`, `RequestsRefused`, `DeviceUnavailable`, `AllDiffer`.
    """
    told("trying every precision")
    fit = _fit(folder, manifest, runtime)
    with Rig(folder, manifest, runtime=runtime) as rig:
        bench = _Bench(
            rig=rig,
            folder=folder,
            manifest=manifest,
            runtime=runtime,
            requests=requests,
            fit=fit,
            told=told,
        )
        return asyncio.run(bench.measured(seconds=seconds, min_overlap=min_overlap))


def _fit(folder: Path, manifest: Manifest, runtime: Runtime) -> list[Precision]:
    """What may serve here, first what the service would choose.  Raises `ArtifactRejected` where nothing may.

    On a GPU the service looks no further than to the first one that is fit; here the others are tried too.
    """

    def tried(precision: Precision) -> dict[Precision, float]:
        return apart(
            probe.main,
            folder,
            provider=runtime.provider,
            threads=runtime.threads,
            precision=precision,
        )

    measured = tried(Precision.AUTO)
    if not runtime.is_cuda:
        return sorted(measured, key=lambda name: measured[name])
    found = list(measured)
    known = probe.candidates(manifest, precision=Precision.AUTO, is_cuda=True)
    for name in known[known.index(found[0]) + 1 :]:
        with suppress(ArtifactRejected):
            found += tried(name)
    return found


@dataclass(kw_only=True)
class _Bench:
    rig: Rig
    folder: Path
    manifest: Manifest
    runtime: Runtime
    requests: Sequence[Request]
    fit: Sequence[Precision]
    """What may serve here, first what the service would choose."""
    told: Callable[[str], object]

    async def measured(self, *, seconds: float, min_overlap: float) -> Measured:
        default = self._default(self.fit[0])
        trial, left = await halved(
            self._arms,
            self._seconds,
            kept={self._default(name) for name in self.fit},
            reference=default,
            seconds=seconds * (1 - _LOOK_SHARE),
            told=lambda arms: self.told(f"measuring {len(arms)} settings"),
        )
        self.told("looking closer at what is left")
        looks = await self._looks(left, seconds=seconds * _LOOK_SHARE)
        fair = [arm for arm in left if not looks[arm].differs(min_overlap)]
        if not fair:
            message = f"no precision that serves on this device shares {min_overlap:.0%} of {EXACT}'s first {look.TOP}"
            raise AllDiffer(message)
        rates = [self._rates(number, taken) for number, taken in enumerate(trial.seconds[default])]
        return Measured(
            version=self.manifest.version,
            provider=self.runtime.provider,
            cores=self.runtime.threads,
            default=default,
            recommended=simplest(trial, fair, default=default, exact=EXACT),
            trial=trial,
            looks=looks,
            documents_s=median(documents for documents, _ in rates),
            tokens_s=median(tokens for _, tokens in rates),
            min_overlap=min_overlap,
        )

    @cached_property
    def _arms(self) -> list[Arm]:
        """All settings that are tried."""
        cores = self.runtime.threads
        return [
            Arm(precision=name, threads=threads, batch_tokens=tokens)
            for name in self.fit
            for threads in ([cores] if self.runtime.is_cuda else thread_counts(cores))
            for tokens in self._sizes(name)
        ]

    def _sizes(self, precision: str) -> Collection[int]:
        """Where every pair runs alone, the size of batches changes nothing."""
        default = self._default(precision)
        if self.rig.scorer(default).one_by_one:
            return {default.batch_tokens}
        return {default.batch_tokens, *(CUDA_BATCHES if self.runtime.is_cuda else CPU_BATCHES)}

    def _default(self, precision: str) -> Arm:
        tokens = self.runtime.batch_tokens
        return Arm(precision=precision, threads=self.runtime.threads, batch_tokens=tokens)

    def _prepared(self, requests: Sequence[Request]) -> list[Prepared]:
        tokenizer = self.rig.scorer(self._default(self.fit[0])).tokenizer
        return [Prepared.of(request, tokenizer) for request in requests]

    @cached_property
    def _waves(self) -> list[list[Prepared]]:
        """The work of a round, each in its turn: the largest batch can be filled."""
        largest = max(arm.batch_tokens for arm in self._arms)
        return waves(self._prepared(self.requests), tokens=largest)

    def _wave(self, number: int) -> list[Prepared]:
        return self._waves[number % len(self._waves)]

    async def _seconds(self, arm: Arm, number: int) -> float:
        return (await self.rig.score(arm, self._wave(number))).seconds

    def _rates(self, number: int, seconds: float) -> tuple[float, float]:
        """Documents and tokens a second in a round."""
        wave = self._wave(number)
        documents = sum(len(each.pairs) for each in wave)
        return documents / seconds, sum(each.tokens for each in wave) / seconds

    async def _looks(self, left: Sequence[Arm], *, seconds: float) -> dict[Arm, Look]:
        small, large = (
            self._prepared(resized(self.requests, size)[: look.MOST])
            for size in (look.SMALL, look.LARGE)
        )
        exact = self._default(EXACT)
        arms = {*left, exact} if EXACT in self.manifest.variants else {*left}
        seen = await look.seen(self.rig, sorted(arms), small=small, large=large, seconds=seconds)
        return {
            arm: seen[arm].look(
                exact=seen.get(exact), peak_bytes=self._peak(arm, [*self._wave(0), large[0]])
            )
            for arm in left
        }

    def _peak(self, arm: Arm, requests: Sequence[Prepared]) -> int:
        return apart(
            peak_bytes,
            self.folder,
            self.manifest,
            runtime=self.runtime,
            arm=arm,
            requests=requests,
        )
