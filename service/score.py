"""One variant of one version, loaded: token pairs and first-stage features in, logits out.

Float32 pairs are scored in padded batches; a neighbour moves a logit by less than 1e-5. Dynamic int8 takes one
activation scale for a whole run, so there a batch is one pair. Float16 is for GPUs, without padding where it can be.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.artifact import TOKENIZER, ArtifactRejected, Manifest, Variant
from contract.tokens import Pair, PairTokenizer, pad
from service.device import Runtime
from service.settings import Precision

_TIMED_TOKENS: Final = 1024
_WARM_LENGTHS: Final = (32, 128, 512)
_TIMED_RUNS: Final = 2


class Scorer:
    """A session with its tokenizer; safe to call from several threads."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tokenizer: PairTokenizer,
        *,
        manifest: Manifest,
        precision: str,
        runtime: Runtime,
    ) -> None:
        self._session = session
        self._runtime = runtime
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.precision = precision

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, *, precision: str, runtime: Runtime) -> Self:
        """Raises `ArtifactRejected` for a file that ONNX Runtime refuses."""
        path = folder / manifest.variants[precision].file
        tokenizer = PairTokenizer.from_file(folder / TOKENIZER, max_length=manifest.max_length)
        try:
            session = runtime.session(str(path))
        # ONNX Runtime raises classes of its own that share no better base.
        except Exception as error:
            message = f"ONNX Runtime refuses {path.name}: {type(error).__name__}"
            raise ArtifactRejected(message) from error
        return cls(session, tokenizer, manifest=manifest, precision=precision, runtime=runtime)

    @property
    def variant(self) -> Variant:
        return self.manifest.variants[self.precision]

    @property
    def one_by_one(self) -> bool:
        return self.precision == Precision.INT8

    @property
    def packed(self) -> bool:
        """Whether the graph drops padding, so that a run costs about what its real tokens do."""
        return self.precision == Precision.FLOAT16_PACKED

    def logits(
        self,
        pairs: Sequence[Pair],
        first_stage: NDArray[np.float32],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> NDArray[np.float64]:
        """One run, which ends with an error of ONNX Runtime's once its options say `terminate`.

        first_stage: (n, 3), one row for each pair.  Returns (n,).
        """
        batch = pad(pairs, pad_id=self.manifest.pad_id)
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "first_stage": first_stage,
        }
        if self.manifest.token_type_ids:
            inputs["token_type_ids"] = batch.token_type_ids
        logits = self._runtime.run(self._session, inputs, run_options)
        return np.asarray(logits, dtype=np.float64).reshape(len(pairs))

    def warm_up(self, *, tokens: int) -> None:
        """Runs every bucket of lengths once, so that no request pays for the first one.

        tokens: how many of them a run may have, as on a GPU kernels are chosen by the whole shape.
        """
        for bucket in _WARM_LENGTHS:
            length = min(bucket, self.manifest.max_length)
            self._run_blank(1 if self.one_by_one else max(1, tokens // length), tokens=length)

    def check_golden(self) -> None:
        """Raises `ArtifactRejected` where this session scores otherwise than the manifest says.

        Together, where pairs run together: they are of unequal lengths, so what is done with padding is seen too.
        """
        golden = self.manifest.golden
        pairs = [self.tokenizer.pairs(pair.query, [pair.document])[0] for pair in golden]
        first_stage = np.array([pair.first_stage for pair in golden], dtype=np.float32)
        size = 1 if self.one_by_one else len(golden)
        runs = [slice(start, start + size) for start in range(0, len(golden), size)]
        logits = [logit for run in runs for logit in self.logits(pairs[run], first_stage[run])]
        for found, expected in zip(logits, self.variant.golden_logits, strict=True):
            # Written so that NaN fails.
            if not abs(found - expected) <= self.variant.tolerance:
                message = f"a golden pair scores {found:.5f} instead of {expected:.5f}"
                raise ArtifactRejected(message)

    def seconds(self) -> float:
        """How long this variant takes for the same 1024 tokens, the best of a few tries."""
        length = min(128, self.manifest.max_length)
        rows = _TIMED_TOKENS // length
        repeats, rows = (rows, 1) if self.one_by_one else (1, rows)
        timings = []
        for _ in range(_TIMED_RUNS):
            start = time.perf_counter()
            for _ in range(repeats):
                self._run_blank(rows, tokens=length)
            timings.append(time.perf_counter() - start)
        return min(timings)

    def _run_blank(self, rows: int, *, tokens: int) -> None:
        ids = np.full(tokens, self.manifest.pad_id, dtype=np.int64)
        pair = Pair(ids=ids, type_ids=np.zeros_like(ids), truncated=False)
        self.logits([pair] * rows, np.zeros((rows, 3), dtype=np.float32))
