"""Versions whose files are wrong, from the real export, tried as a replica tries them: hashes, then golden pairs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from bench.learning.bad_models import Bad
from bench.learning.ground import Ground, Known
from bench.learning.studio import MAX_LENGTH, PRECISION, State
from bench.learning.worlds import Floats
from contract import artifact
from contract.artifact import MANIFEST, TOKENIZER, ArtifactRejected, Manifest
from contract.records import Candidate
from contract.store import Store
from service import probe
from service.device import CPU
from service.settings import Precision
from trainer import base, export
from trainer.base import Base
from trainer.evidence import Scores
from trainer.export import Export
from trainer.graphs import ExportRefused
from trainer.scoring import Served

CLASSIFIER: Final = "encoder.classifier.classifier.weight"
POOLER: Final = "encoder.classifier.bert.pooler.dense.weight"
NEW_WORD: Final = 2_000
"""The id from which a stale vocabulary is one word behind."""

Tamper: TypeAlias = Callable[[Path], None]
"""Spoils a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A version that was tried before any gate, or one that a gate is to judge."""

    name: str
    kind: str
    stage: str
    refusal: str | None = None
    """None where nobody refused it."""
    bad: Bad | None = None
    """What to judge, where it came so far."""


def tried(ground: Ground) -> Iterator[Tried]:
    with TemporaryDirectory() as folder:
        yield from _not_finite(ground, Path(folder))
        made = _exported(ground.weights.state, Path(folder) / "good")
        yield from _tampered(made, Path(folder))
        yield from _rewritten(ground, made)
        yield _of_stale_words(ground, Path(folder) / "stale")


def _exported(state: State, folder: Path, *, tokenizer: Path | None = None) -> Export:
    model: Base = base.load(base.MINILM, max_length=MAX_LENGTH)
    model.reranker.load_state({**model.reranker.state(), **state})
    if tokenizer is not None:
        model = replace(model, tokenizer_path=tokenizer)
    return export.export(model, folder, precisions=[PRECISION])


def _not_finite(ground: Ground, folder: Path) -> Iterator[Tried]:
    for kind, number in (("NaN row in the weights", nan), ("infinite weights", inf)):
        for name in (CLASSIFIER, POOLER, "fusion.pair"):
            state = dict(ground.weights.state)
            state[name] = state[name].clone()
            state[name].view(-1)[: state[name].shape[-1] if state[name].dim() else 1] = number
            refusal = _refusal(partial(_exported, state, folder / f"{number}.{name}"))
            yield Tried(name=f"{number} in {name}", kind=kind, stage="export", refusal=refusal)


def _refusal(of: Callable[[], object]) -> str | None:
    """Why this was not done, None where it was."""
    try:
        of()
    except (ExportRefused, ArtifactRejected) as refused:
        return str(refused)
    return None


def _tampered(made: Export, folder: Path) -> Iterator[Tried]:
    """Stored as they should be, then changed where they lie."""
    for number, (kind, name, tamper) in enumerate(_tampers()):
        store = Store(str(folder / f"store-{number}"))
        version = store.put(made.folder)
        tamper(folder / f"store-{number}" / version)
        refusal = _refusal(partial(store.fetch, version, folder / f"cache-{number}"))
        yield Tried(name=name, kind=kind, stage="fetch", refusal=refusal)


def _tampers() -> Iterator[tuple[str, str, Tamper]]:
    yield "stale tokenizer", "exchanged in the store", make_stale
    for seed in (1, 2, 3):
        yield "bit flip in the ONNX file", f"bit {seed}", partial(_flipped, seed=seed)
    yield "wrong temperature in the manifest", "edited in the store", partial(hotter, times=10.0)


def _flipped(folder: Path, *, seed: int) -> None:
    flip_a_bit(folder / export.FILES[PRECISION], seed=seed)


def flip_a_bit(path: Path, *, seed: int) -> None:
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def make_stale(folder: Path) -> None:
    """The vocabulary as it was before one word came in: all after it are one off."""
    path = folder / TOKENIZER
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    words: Mapping[str, int] = told["model"]["vocab"]
    told["model"]["vocab"] = one_behind(words)
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")


def one_behind(words: Mapping[str, int]) -> dict[str, int]:
    """Ids from `NEW_WORD` on less 1; the word that is not there yet gets the last id."""
    last = len(words) - 1

    def stale(number: int) -> int:
        return number if number < NEW_WORD else last if number == NEW_WORD else number - 1

    return {word: stale(number) for word, number in words.items()}


def hotter(folder: Path, *, times: float) -> None:
    """Another temperature in the manifest, whose hash is then another."""
    path = folder / MANIFEST
    manifest = Manifest.of_json(path.read_bytes())
    variant = manifest.variants[PRECISION]
    changed = variant.model_copy(update={"temperature": variant.temperature * times})
    path.write_bytes(manifest.model_copy(update={"variants": {PRECISION: changed}}).to_json())


def rehash(folder: Path) -> Manifest:
    """The manifest as if the exporter itself had written what lies there."""
    path = folder / MANIFEST
    manifest = Manifest.of_json(path.read_bytes())
    files = {name: artifact.sha256(folder / name) for name in manifest.files}
    path.write_bytes(manifest.model_copy(update={"files": files}).to_json())
    return Manifest.of_json(path.read_bytes())


def _rewritten(ground: Ground, made: Export) -> Iterator[Tried]:
    """Wrong, with hashes that agree: what a replica tries beside the model that serves."""
    tokenizer = (made.folder / TOKENIZER).read_bytes()
    make_stale(made.folder)
    yield _probed(
        ground, made.folder, name="exchanged before it was hashed", kind="stale tokenizer"
    )
    (made.folder / TOKENIZER).write_bytes(tokenizer)
    for times in (0.1, 10.0):
        hotter(made.folder, times=times)
        yield _probed(
            ground,
            made.folder,
            name=f"times {times}",
            kind="wrong temperature in the manifest",
        )
        hotter(made.folder, times=1 / times)


def _probed(ground: Ground, folder: Path, *, name: str, kind: str) -> Tried:
    manifest = rehash(folder)
    tries = partial(
        probe.main,
        folder,
        provider=CPU,
        threads=torch.get_num_threads(),
        precision=Precision(PRECISION),
    )
    refusal = _refusal(tries)
    if refusal is not None:
        return Tried(name=name, kind=kind, stage="probe", refusal=refusal)
    # The weights are the champion's, and so are the logits, up to rounding: they need not be computed again.
    scores = Tempered(
        source=ground.champion,
        version=f"champion, {name}",
        temperature=manifest.variants[PRECISION].temperature,
    )
    return Tried(name=name, kind=kind, stage="gate", bad=_bad(ground, kind, scores))


@dataclass(frozen=True, kw_only=True)
class Tempered:
    """Another's logits at another temperature: `trainer.evidence.Scores`."""

    source: Scores
    version: str
    temperature: float

    @property
    def precision(self) -> str:
        return self.source.precision

    def logits(self, query: str, candidates: Sequence[Candidate]) -> Floats:
        """(n,) in request order."""
        return self.source.logits(query, candidates)


def _of_stale_words(ground: Ground, folder: Path) -> Tried:
    """Exported with the stale tokenizer: file, hashes and golden pairs agree, and only a gate can tell."""
    folder.mkdir()
    (folder / TOKENIZER).write_bytes(base.load(base.MINILM).tokenizer_path.read_bytes())
    make_stale(folder)
    made = _exported(ground.weights.state, folder / "version", tokenizer=folder / TOKENIZER)
    served = Served.load(
        made.folder, made.manifest, precision=PRECISION, threads=torch.get_num_threads()
    )
    kind = "stale tokenizer"
    return Tried(
        name="exported with it",
        kind=kind,
        stage="gate",
        bad=_bad(ground, kind, Known(source=served)),
    )


def _bad(ground: Ground, kind: str, scores: Scores) -> Bad:
    return Bad(
        kind=kind,
        scores=scores,
        truth=ground.truth(scores),
        truth_explored=ground.truth_explored(scores),
    )
