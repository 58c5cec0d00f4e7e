"""What a model version is: a folder of files, and the manifest whose hash is the version's name.

ONNX Runtime loads silently corrupted files, so every file is hashed and golden pairs are scored
before a version serves. Weights are safetensors, never pickle.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from contract.refusals import Refusal

MANIFEST: Final = "manifest.json"
TOKENIZER: Final = "tokenizer.json"
WEIGHTS: Final = "weights.safetensors"


FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A name inside the folder: a manifest cannot point elsewhere."""


class ArtifactRejected(Refusal):
    """A version is not what its manifest says, or does not score as it says."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GoldenPair(_Frozen):
    """A pair whose score every copy of the version must reproduce."""

    query: str
    document: str
    first_stage: tuple[float, float, float]
    """`first_stage.features` of the document."""


class Variant(_Frozen):
    """One precision of the same model: a graph in a file of its own, whose weights may be in another one."""

    file: FileName
    temperature: float = Field(gt=0)
    """Exploration temperature calibrated on this variant's logits."""
    golden_logits: tuple[float, ...]
    """One for each golden pair, scored alone on a CPU (float16: as torch scores it)."""
    tolerance: float = Field(gt=0)
    """How far a golden logit may be off on another machine."""


class Anchor(_Frozen):
    """A rising map from this model's logits to the base's: apps' thresholds survive a swap."""

    own: tuple[float, ...]
    base: tuple[float, ...]
    """The base's logits at the same quantiles of a reference sample; both strictly rise.

    No knots mean identity."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.own) != len(self.base):
            raise ValueError("own must have as many knots as base")
        if not all((np.diff(knots) > 0).all() for knots in (self.own, self.base)):
            raise ValueError("knots must be strictly rising")
        return self

    def anchored(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logits on the base's scale; slope 1 beyond the knots.

        logits: (n,).  Returns (n,), in the same order relation up to rounding.
        """
        own, base = np.array(self.own or (0.0,)), np.array(self.base or (0.0,))
        inside = np.interp(logits, own, base)
        below, above = np.minimum(logits - own[0], 0), np.maximum(logits - own[-1], 0)
        anchored: NDArray[np.float64] = inside + below + above
        return anchored

    def relevance(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores in (0, 1): the sigmoid of the anchored logits."""
        # The sigmoid as tanh does not overflow.
        half: NDArray[np.float64] = np.tanh(self.anchored(logits) / 2) / 2
        return 0.5 + half


class Manifest(_Frozen):
    """Everything about a version but its bytes."""

    base: str
    """What the first version of this line was made from."""
    parent: str | None
    """The version it was trained from."""
    run_id: str | None
    """The training run that made it."""
    family: str
    token_type_ids: bool
    """Whether the graph has that input."""
    pad_id: int
    max_length: int = Field(gt=0)
    files: dict[FileName, str]
    """File name to sha256, in hex."""
    variants: dict[str, Variant]
    """By precision: float32, int8, float16, float16-packed."""
    golden: tuple[GoldenPair, ...]
    anchor: Anchor

    @property
    def version(self) -> str:
        """The name of the version: the sha256 of its manifest."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """The one encoding that is hashed and stored."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode()

    @classmethod
    def of_json(cls, data: bytes) -> Self:
        """Raises `ArtifactRejected`."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            message = f"the manifest is not valid: {error.error_count()} errors"
            raise ArtifactRejected(message) from error


def sha256(path: Path) -> str:
    """The hash of one file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(folder: Path, version: str) -> Manifest:
    """The manifest of a complete and unchanged folder.  Raises `ArtifactRejected`."""
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    if manifest.version != version:
        message = f"the manifest hashes to {manifest.version[:12]}, not {version[:12]}"
        raise ArtifactRejected(message)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            message = f"{name} is missing"
            raise ArtifactRejected(message)
        if sha256(path) != expected:
            message = f"{name} does not match its hash"
            raise ArtifactRejected(message)
    return manifest
