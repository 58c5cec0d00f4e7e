"""Scores with the very file that serves: what the gate compares is what users would see.

Int8 pairs are scored one by one, as the service does, since dynamic quantisation takes one scale for a whole run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.artifact import TOKENIZER, ArtifactRejected, Manifest
from contract.first_stage import of_candidates
from contract.records import Candidate
from contract.tokens import PairTokenizer, pad

Floats = NDArray[np.float64]

ONE_BY_ONE: Final = "int8"
_ON_A_CPU: Final = {"float16-packed": "float16"}


def on_a_cpu(precision: str) -> str:
    """What scores in place of a precision that has kernels on CUDA alone: the same weights, with padding."""
    return _ON_A_CPU.get(precision, precision)


class Served:
    """One variant of one version."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tokenizer: PairTokenizer,
        *,
        manifest: Manifest,
        precision: str,
    ) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._manifest = manifest
        self.version = manifest.version
        self.precision = precision

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, *, precision: str, threads: int) -> Self:
        """Raises `ArtifactRejected` where the version has no such variant, or a CPU cannot run it."""
        if precision != on_a_cpu(precision):
            raise ArtifactRejected(f"{precision} runs on CUDA alone; take {on_a_cpu(precision)}")
        if precision not in manifest.variants:
            message = f"version {manifest.version[:12]} has no {precision} variant"
            raise ArtifactRejected(message)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        path = folder / manifest.variants[precision].file
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = PairTokenizer.from_file(folder / TOKENIZER, max_length=manifest.max_length)
        return cls(session, tokenizer, manifest=manifest, precision=precision)

    @property
    def temperature(self) -> float:
        """Of exploration, calibrated on this variant's logits."""
        return self._manifest.variants[self.precision].temperature

    def anchored(self, logits: Floats) -> Floats:
        """The logits on the base's scale, as `raw_scores` shows them: (n,) both."""
        return self._manifest.anchor.anchored(logits)

    def logits(self, query: str, candidates: Sequence[Candidate]) -> Floats:
        """(n,) in request order."""
        pairs = self._tokenizer.pairs(query, [candidate.text for candidate in candidates])
        first_stage = of_candidates(candidates)
        at_once = 1 if self.precision == ONE_BY_ONE else len(pairs)
        runs = []
        for start in range(0, len(pairs), at_once):
            batch = pad(pairs[start : start + at_once], pad_id=self._manifest.pad_id)
            inputs = {
                "input_ids": batch.input_ids,
                "attention_mask": batch.attention_mask,
                "first_stage": first_stage[start : start + at_once],
            }
            if self._manifest.token_type_ids:
                inputs["token_type_ids"] = batch.token_type_ids
            runs.append(self._session.run(["logit"], inputs)[0])
        return np.concatenate(runs).astype(np.float64)
