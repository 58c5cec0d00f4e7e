"""Real versions to serve, made once for each state of the code that makes them.

Every one has a twin with slightly other weights and a bias that tells their scores apart: a logit of the base is
far below `MARK / 2`, one of its twin far above, whatever text it is of.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import torch
from transformers import BertConfig, BertForSequenceClassification

from contract.artifact import MANIFEST, Manifest
from trainer import base, export
from trainer.base import Base
from trainer.model import Reranker

logger = logging.getLogger(__name__)

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".serving" / "versions"
PRECISIONS: Final = ("float32", "int8")
MARK: Final = 64.0
NOISE: Final = 0.001
"""Standard deviation of what a twin's weights in the last layer are multiplied by, around 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Folders of two versions that differ a little."""

    first: Path
    second: Path


def real() -> Twins:
    """The default base, six layers."""
    return _twins("minilm", base.minilm)


def one_layer() -> Twins:
    """One layer of the same width, so that what surrounds the model is most of the work; its scores mean nothing."""
    return _twins("one-layer", _one_layer)


def name(version: Path) -> str:
    return Manifest.of_json((version / MANIFEST).read_bytes()).version


def of_logit(logit: float, twins: Twins) -> str:
    """The version whose logit that is."""
    return name(twins.second if logit > MARK / 2 else twins.first)


def _twins(kind: str, load: Callable[[], Base]) -> Twins:
    folder = CACHE / f"{kind}-{code()}"
    made = Twins(first=folder / "first", second=folder / "second")
    if not (made.second / MANIFEST).exists():
        logger.info("making versions %s", kind)
        export.export(load(), made.first, precisions=PRECISIONS)
        export.export(_changed(load()), made.second, precisions=PRECISIONS)
    return made


def _one_layer() -> Base:
    minilm = base.minilm()
    torch.manual_seed(0)
    config = BertConfig(**{**minilm.reranker.encoder.config.to_dict(), "num_hidden_layers": 1})
    reranker = Reranker(BertForSequenceClassification(config)).eval()
    return replace(minilm, name="one-layer", reranker=reranker)


@torch.no_grad()
def _changed(model: Base) -> Base:
    torch.manual_seed(1)
    for weights in model.reranker.encoder.layers()[-1].parameters():
        weights.mul_(1 + NOISE * torch.randn_like(weights))
    model.reranker.fusion.bias.add_(MARK)
    return model


def code(*also: Path) -> str:
    """A digest of everything that decides what an export writes, and of these files."""
    files = sorted(
        [*(ROOT / "trainer").rglob("*"), *(ROOT / "contract").glob("*.py"), Path(__file__)]
    )
    ours = [file for file in files if file.suffix in {".py", ".safetensors"}]
    return sha256(b"".join(file.read_bytes() for file in [*ours, *also])).hexdigest()[:12]
