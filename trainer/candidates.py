"""What a round works on: the champion in torch, its activations, and versions made from it, ready to serve.

One champion is kept in memory from round to round, and its activations for as long as the layers below the last are
the same: until a rung that trains them makes a champion.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor

from contract.artifact import MANIFEST, TOKENIZER, WEIGHTS, Manifest
from contract.store import Store
from contract.tokens import PairTokenizer
from trainer import base, export
from trainer.activations import Activations
from trainer.base import Base
from trainer.export import Export
from trainer.golden import GoldenSet
from trainer.ladder import ladder
from trainer.learner import Capacity, Listing
from trainer.model import Reranker
from trainer.ranks import ALONE, Ranks
from trainer.scoring import Served
from trainer.settings import TrainerSettings
from trainer.splits import Split
from trainer.train import Task, Trained, climb, follow

KEPT: Final = 3
"""Sessions in memory: those of the base, of the champion and of the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stored version that asks to become the champion."""

    version: str
    capacity: Capacity
    kl: float
    epoch: int
    length: float
    expected_gain: float
    """What the tune queries promised: the best of several attempts, hence too good."""
    agreement: Mapping[str, float]
    """By precision: share of reference lists whose top k the file ranks as torch does."""
    clipped: Mapping[str, float]
    """Share of cut ratios for each kind of answer."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Self:
        return cls(**{**found, "capacity": Capacity(found["capacity"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The live version, as training needs it."""

    manifest: Manifest
    model: Base

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The architecture is that of the base; the weights and the tokenizer are its own."""
        manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
        start = base.load(manifest.base, max_length=manifest.max_length)
        start.reranker.load(folder / WEIGHTS)
        return cls(manifest=manifest, model=replace(start, tokenizer_path=folder / TOKENIZER))

    @property
    def reranker(self) -> Reranker:
        return self.model.reranker

    @property
    def tokenizer(self) -> PairTokenizer:
        return PairTokenizer.from_file(
            self.model.tokenizer_path, max_length=self.manifest.max_length
        )

    @property
    def temperature(self) -> float:
        """Of its torch logits, which are those of the float32 file; the others' are near."""
        variants = self.manifest.variants
        return variants.get("float32", next(iter(variants.values()))).temperature

    @contextmanager
    def wearing(self, state: Mapping[str, Tensor]) -> Iterator[Reranker]:
        """The reranker with some weights changed, for so long."""
        parameters = dict(self.reranker.named_parameters())
        own = {name: parameters[name].detach().clone() for name in state}
        with torch.no_grad():
            for name, tensor in state.items():
                parameters[name].copy_(tensor)
        try:
            yield self.reranker
        finally:
            with torch.no_grad():
                for name, tensor in own.items():
                    parameters[name].copy_(tensor)


class Workshop:
    """Fetches, loads, trains and exports versions of one line."""

    def __init__(
        self, settings: TrainerSettings, store: Store, *, threads: int, ranks: Ranks = ALONE
    ) -> None:
        self._settings = settings
        self._store = store
        self._ranks = ranks
        self._threads = threads
        self._champion: Champion | None = None
        self._activations: tuple[str, Activations] | None = None
        self._served: dict[tuple[str, str], Served] = {}

    @property
    def cached_pairs(self) -> int:
        return len(self._activations[1]) if self._activations else 0

    def candidates(
        self,
        version: str,
        sides: Split,
        *,
        golden: GoldenSet,
        seed: int,
        run_id: str | None = None,
    ) -> Iterator[tuple[Candidate, Path]]:
        """Each that the tune queries like, made from this version, with its folder until the next one is asked for."""
        champion = self._load(version)
        trained = climb(
            champion.reranker,
            sides,
            rungs=ladder(self._settings),
            activations=self._activations_of(champion),
            golden=golden,
            temperature=champion.temperature,
            seed=seed,
            shares=self._settings.shares,
            version=version,
            ranks=self._ranks,
        )
        for each in trained:
            with tempfile.TemporaryDirectory(dir=self._cache(), prefix=".export-") as parent:
                with champion.wearing(each.state):
                    made = export.export(
                        champion.model,
                        Path(parent) / "version",
                        parent=champion.manifest,
                        run_id=run_id,
                        precisions=self._precisions(champion.manifest),
                    )
                yield _candidate(each, made), made.folder

    def follow(self, task: Task) -> None:
        """Trains along with the first rank."""
        champion = self._load(task.champion)
        activations = self._activations_of(champion)
        follow(champion.reranker, task, activations=activations, ranks=self._ranks)

    def prepare(
        self, version: str, listings: Iterable[Listing], *, makes_room: bool = True
    ) -> None:
        """Computes the activations of these lists, where they are not there and a rung asks for them.

        makes_room: whether older ones go, where memory is full.
        """
        if all(each.is_whole for each in self._settings.trainer_capacities):
            return
        activations = self._activations_of(self._load(version))
        pairs = [pair for each in listings for pair in each.pairs]
        activations.keep(pairs, makes_room=makes_room)

    def served(self, version: str, precision: str) -> Served:
        """The variant that answers requests; the last few are kept.  Raises `ArtifactRejected`."""
        if (version, precision) not in self._served:
            folder = self._store.fetch(version, self._cache())
            manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
            self._served[version, precision] = Served.load(
                folder, manifest, precision=precision, threads=self._threads
            )
        for oldest in list(self._served)[:-KEPT]:
            del self._served[oldest]
        return self._served[version, precision]

    def _precisions(self, champion: Manifest) -> list[str]:
        """What serves now is made again; a variant that was not good enough for the champion is not."""
        return [name for name in self._settings.trainer_precisions if name in champion.variants]

    def _load(self, version: str) -> Champion:
        if self._champion is None or self._champion.manifest.version != version:
            self._champion = Champion.load(self._store.fetch(version, self._cache()))
        return self._champion

    def _activations_of(self, champion: Champion) -> Activations:
        """Those of the champion before it, unless a layer below the last differs."""
        below = _fingerprint(champion.reranker)
        if self._activations is None or self._activations[0] != below:
            made = Activations(
                champion.reranker,
                champion.tokenizer,
                pad_id=champion.manifest.pad_id,
                max_bytes=self._settings.trainer_cache_bytes,
            )
            self._activations = (below, made)
        return self._activations[1]

    def _cache(self) -> Path:
        self._settings.cache_dir.mkdir(parents=True, exist_ok=True)
        return self._settings.cache_dir


def _candidate(trained: Trained, made: Export) -> Candidate:
    return Candidate(
        version=made.manifest.version,
        capacity=trained.capacity,
        kl=trained.kl,
        epoch=trained.epoch,
        length=trained.length,
        expected_gain=trained.tune.value,
        agreement={
            name: parity.agreement if isfinite(parity.max_difference) else 0.0
            for name, parity in made.parity.items()
        },
        clipped=trained.clipped,
    )


def _fingerprint(reranker: Reranker) -> str:
    """Of the weights below the last layer: what enters it follows from them."""
    above = {id(parameter) for parameter in reranker.last_layer_parameters()}
    digest = hashlib.sha256()
    for name, parameter in reranker.named_parameters():
        if id(parameter) not in above:
            digest.update(name.encode())
            digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()
