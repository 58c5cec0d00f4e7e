"""What a round works on: the champion in torch, its activations, and versions made from it, ready to serve.

One champion is kept in memory from round to round, and its activations for as long as the layers below the last are
the same, which within a line they are.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from contract.artifact import MANIFEST, TOKENIZER, Manifest
from contract.store import Store
from contract.tokens import PairTokenizer
from trainer import export
from trainer.activations import Activations
from trainer.examples import Example
from trainer.learner import Capacity, texts
from trainer.model import Reranker
from trainer.runs import Run
from trainer.scoring import Served
from trainer.settings import TrainerSettings
from trainer.splits import Split
from trainer.train import Trained, climb, ladder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stored version that asks to become the champion."""

    version: str
    capacity: Capacity
    kl: float
    epoch: int
    expected_gain: float
    """What the tune queries promised: the best of several attempts, hence too good."""
    agreement: float
    """Share of reference lists whose top k the serving file ranks as torch does, the worst of its precisions."""
    finite: bool
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
    folder: Path
    reranker: Reranker

    @property
    def temperature(self) -> float:
        """Of its torch logits."""
        return self.manifest.variants["float32"].temperature

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
                for name, tensor in own.items():
                    parameters[name].copy_(tensor)


class Workshop:
    """Fetches, loads, trains and exports versions of one line."""

    def __init__(self, settings: TrainerSettings, store: Store, *, threads: int) -> None:
        self._settings = settings
        self._store = store
        self._threads = threads
        self._champion: Champion | None = None
        self._activations: tuple[str, Activations] | None = None

    @property
    def cached_pairs(self) -> int:
        return len(self._activations[1]) if self._activations else 0

    def candidates(self, run: Run, sides: Split) -> Iterator[tuple[Candidate, Path]]:
        """Each that the tune queries like, with the folder that holds it for so long as it is looked at."""
        champion = self._load(run.champion)
        activations = self._activations_of(champion)
        trained = climb(
            champion.reranker,
            sides,
            rungs=ladder(self._settings),
            activations=activations,
            temperature=champion.temperature,
            seed=run.seed,
        )
        for each in trained:
            with tempfile.TemporaryDirectory(dir=self._cache(), prefix=".export-") as folder:
                yield self._export(champion, each, run, Path(folder)), Path(folder)

    def prepare(self, version: str, examples: Sequence[Example]) -> None:
        """Computes the activations of these examples, if they are not there."""
        champion = self._load(version)
        self._activations_of(champion).keep([pair for each in examples for pair in texts(each)])

    def served(self, version: str, precision: str) -> Served:
        """The variant that answers requests.  Raises `ArtifactRejected`."""
        folder = self._store.fetch(version, self._cache())
        manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
        return Served.load(folder, manifest, precision=precision, threads=self._threads)
