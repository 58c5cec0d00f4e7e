"""Makes a version of a model: a folder with its graphs, weights and tokenizer, and last its manifest.

`python -m trainer.export --base minilm --out DIR` makes the first version of a line.
"""

import argparse
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from contract import artifact
from contract.artifact import Anchor, GoldenPair, Manifest, Variant
from contract.first_stage import of_candidates
from contract.tokens import PairTokenizer, pad
from trainer import base, calibration, graphs, reference
from trainer.base import Base
from trainer.graphs import ExportRefused
from trainer.model import Reranker
from trainer.reference import ReferenceList
from trainer.scoring import Served

Floats = NDArray[np.float64]

FILES: Final = {"float32": "model.onnx", "int8": "model.int8.onnx", "float16": "model.fp16.onnx"}
logger = logging.getLogger(__name__)
PRECISIONS: Final = tuple(FILES)
HALF: Final = "float16"
PACKED: Final = "float16-packed"
PACKED_FILE: Final = "model.fp16-packed.onnx"
"""Comes with float16 where a family can be packed, and scores with its weights."""
FLOAT32_TOLERANCE: Final = 1e-4
MIN_TOLERANCE: Final = {"float32": 1e-3, "int8": 0.1, "float16": 0.05}
"""Of a golden logit on another machine, whose kernels may sum in another order."""
TOP_K: Final = 3
ROUGH: Final = "int8"
FEW: Final = 4
"""Every so many lists are scored by the variants that hardly differ from torch."""
NEAR: Final = 0.25
"""Candidates whose logits differ by less than this share of the temperature count as equal: exploration shows one of
them but e^0.25 = 1.3 times as often as the other."""
MIN_AGREEMENT: Final = 0.99
"""Below it, a variant is left out of a version, and a gate refuses it: a base must not serve what no heir may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How one variant compares with torch on the reference lists."""

    max_difference: float
    agreement: float
    """Share of lists whose first three are torch's, up to ties within a quarter of the temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A complete version."""

    folder: Path
    manifest: Manifest
    parity: Mapping[str, Parity]
    """By precision; a variant that was left out is here too, and not in the manifest."""


def export_base(
    name: str, folder: Path, *, max_length: int = 512, precisions: Sequence[str] = PRECISIONS
) -> Export:
    """The first version of a line.  Raises `BaseRefused` or `ExportRefused`."""
    return export(base.load(name, max_length=max_length), folder, precisions=precisions)


def export(
    model: Base,
    folder: Path,
    *,
    parent: Manifest | None = None,
    run_id: str | None = None,
    precisions: Sequence[str] = PRECISIONS,
    min_agreement: float = MIN_AGREEMENT,
) -> Export:
    """Writes a version into a folder: bytes first, manifest last.  Raises `ExportRefused`.

    model: the base itself, or the base with a trained reranker in its place (`dataclasses.replace`).
    parent: the version it was trained from; the anchor to the base's scores comes down the line with it.
    min_agreement: of a variant that is kept; none, where a version is for its speed and not for its ranking.
    """
    _refuse_broken(model.reranker)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model.tokenizer_path, folder / artifact.TOKENIZER)
    model.reranker.save(folder / artifact.WEIGHTS)
    _write_graphs(model, folder, precisions)
    exact = _torch_logits(model, reference.lists())
    draft = _draft(model, folder, anchor=_anchor(exact, parent))
    measured = {name: _measure(draft, folder, precision=name, exact=exact) for name in precisions}
    kept = [name for name in precisions if _is_good(name, measured[name].parity, min_agreement)]
    for name in set(precisions) - set(kept):
        _drop(folder, name)
    manifest = draft.model_copy(
        update={
            "parent": None if parent is None else parent.version,
            "run_id": run_id,
            "files": {path.name: artifact.sha256(path) for path in sorted(folder.iterdir())},
            "variants": _with_packed({name: measured[name].variant for name in kept}, folder),
        }
    )
    _write_last(folder / artifact.MANIFEST, manifest.to_json())
    found = {name: each.parity for name, each in measured.items()}
    return Export(folder=folder, manifest=manifest, parity=found)


def _refuse_broken(reranker: Reranker) -> None:
    for name, weights in reranker.named_parameters():
        if not weights.isfinite().all():
            raise ExportRefused(f"{name} has weights that are not finite")


def _drop(folder: Path, precision: str) -> None:
    """With it goes what is of no use without it."""
    (folder / FILES[precision]).unlink()
    if precision == HALF:
        (folder / FILES[HALF]).with_suffix(".weights").unlink()
        (folder / PACKED_FILE).unlink(missing_ok=True)


def _with_packed(variants: dict[str, Variant], folder: Path) -> dict[str, Variant]:
    """The packed graph has no kernels on a CPU to be compared with torch.

    It is float16's without padding, so it is held to float16's golden pairs, by the device that is to serve it.
    """
    if HALF in variants and (folder / PACKED_FILE).exists():
        return variants | {PACKED: variants[HALF].model_copy(update={"file": PACKED_FILE})}
    return variants


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    variant: Variant
    parity: Parity


def _write_graphs(model: Base, folder: Path, precisions: Sequence[str]) -> None:
    with TemporaryDirectory(dir=folder.parent, prefix=".graphs-") as rough:
        raw, fused = Path(rough) / "raw.onnx", Path(rough) / "fused.onnx"
        reranker, family = model.reranker, model.family
        graphs.export(reranker, raw)
        graphs.fuse(raw, fused, reranker=reranker, family=family)
        for name in precisions:
            path = folder / FILES[name]
            match name:
                case "int8":
                    graphs.quantize(raw, path, reranker=reranker, family=family)
                case "float16":
                    graphs.halve(fused, path, reranker=reranker, family=family)
                    if graphs.can_pack(reranker, family=family):
                        packed = folder / PACKED_FILE
                        graphs.halve_packed(
                            fused, packed, reranker=reranker, family=family, halved=path
                        )
                case _:
                    shutil.copyfile(fused, path)


def _draft(model: Base, folder: Path, *, anchor: Anchor) -> Manifest:
    """What can be said before anything is measured."""
    return Manifest(
        base=model.name,
        parent=None,
        run_id=None,
        family=model.family,
        token_type_ids=model.reranker.encoder.uses_token_types,
        pad_id=model.pad_id,
        max_length=model.max_length,
        files={},
        variants={
            name: Variant(file=file, temperature=1.0, golden_logits=(), tolerance=1.0)
            for name, file in FILES.items()
            if (folder / file).exists()
        },
        golden=golden_pairs(),
        anchor=anchor,
    )


def golden_pairs() -> tuple[GoldenPair, ...]:
    return tuple(
        GoldenPair(query=each.query, document=candidate.text, first_stage=tuple(row))
        for each in reference.golden()
        for candidate, row in zip(each.candidates, _features(each).tolist(), strict=True)
    )


def _anchor(exact: Sequence[Floats], parent: Manifest | None) -> Anchor:
    own = () if parent is None else parent.anchor.base
    return calibration.anchor(np.concatenate(exact), base=own)


def _measure(
    draft: Manifest, folder: Path, *, precision: str, exact: Sequence[Floats]
) -> _Measured:
    """Scores the reference with the very file: all of it in int8, some of it where little can differ."""
    served = Served.load(folder, draft, precision=precision, threads=torch.get_num_threads())
    asked = reference.lists() if precision == ROUGH else reference.lists()[::FEW]
    theirs = exact if precision == ROUGH else exact[::FEW]
    logits = [served.logits(each.query, each.candidates) for each in asked]
    golden = [served.logits(each.query, each.candidates) for each in reference.golden()]
    temperature = calibration.temperature(logits if precision == ROUGH else exact)
    found = parity(logits, theirs, temperature=temperature)
    variant = Variant(
        file=FILES[precision],
        temperature=temperature,
        golden_logits=tuple(np.concatenate(golden).tolist()),
        tolerance=max(MIN_TOLERANCE[precision], 2 * found.max_difference),
    )
    return _Measured(variant=variant, parity=found)


def parity(logits: Sequence[Floats], exact: Sequence[Floats], *, temperature: float) -> Parity:
    near = NEAR * temperature
    return Parity(
        max_difference=max(
            float(np.abs(own - theirs).max()) for own, theirs in zip(logits, exact, strict=True)
        ),
        agreement=float(
            np.mean([_agree(*pair, near=near) for pair in zip(logits, exact, strict=True)])
        ),
    )


def _agree(logits: Floats, exact: Floats, *, near: float) -> bool:
    """Whether the first k are torch's first k, but for those that torch hardly tells apart."""
    chosen, best = np.argsort(-logits)[:TOP_K], np.sort(exact)[::-1][:TOP_K]
    return bool((exact[chosen] >= best[-1] - near).all())


def _is_good(precision: str, found: Parity, min_agreement: float) -> bool:
    """Raises `ExportRefused` for float32, which every version has."""
    if precision == "float32" and not found.max_difference <= FLOAT32_TOLERANCE:
        message = f"float32 differs from torch by {found.max_difference:.2g}"
        raise ExportRefused(message)
    good = found.agreement >= min_agreement
    if not good:
        logger.warning("export.left_out precision=%s agreement=%.3f", precision, found.agreement)
    return good


@torch.no_grad()
def _torch_logits(model: Base, lists: Sequence[ReferenceList]) -> list[Floats]:
    tokenizer = PairTokenizer.from_file(model.tokenizer_path, max_length=model.max_length)
    return [_list_logits(model, tokenizer, each) for each in lists]


def _list_logits(model: Base, tokenizer: PairTokenizer, each: ReferenceList) -> Floats:
    texts = [candidate.text for candidate in each.candidates]
    batch = pad(tokenizer.pairs(each.query, texts), pad_id=model.pad_id)
    types = torch.from_numpy(batch.token_type_ids)
    logits_P = model.reranker(
        torch.from_numpy(batch.input_ids),
        torch.from_numpy(batch.attention_mask),
        types if model.reranker.encoder.uses_token_types else None,
        torch.from_numpy(_features(each)),
    )
    return np.asarray(logits_P.numpy(), dtype=np.float64)


def _features(each: ReferenceList) -> NDArray[np.float32]:
    return of_candidates(each.candidates)


def _write_last(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=base.MINILM)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=512)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    made = export_base(arguments.base, arguments.out, max_length=arguments.max_length)
    for name, found in made.parity.items():
        logger.info("%s: %s", name, found)
    logger.info("version %s in %s", made.manifest.version, made.folder)


if __name__ == "__main__":
    main()
