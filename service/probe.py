"""`python -m service.probe`: tries a version in a process of its own, because ONNX Runtime may crash on a bad file.

Prints the precision that serves best here, as one line of JSON; a version that is not fit to serve ends it with 3 and
the reason on stderr.
"""

import json
import os
import sys
from pathlib import Path
from typing import Final

from contract.artifact import MANIFEST, ArtifactRejected, Manifest
from contract.refusals import Refusal
from service.device import Runtime
from service.score import Scorer
from service.settings import Precision

REJECTED: Final = 3
GIVES_WAY: Final = 10
"""How much nicer it is than the service, which answers meanwhile."""


def main(
    folder: Path, *, provider: str, threads: int, precision: Precision
) -> dict[Precision, float]:
    """Loads and checks every precision that may serve; of several, how many seconds each takes for the same tokens.

    Raises `ArtifactRejected` where none is fit. One that is not fit on this machine, as int8 may sum otherwise
    without VNNI, leaves it to the others. On a GPU there is nothing to measure: the first that is fit is the best.
    """
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    runtime = Runtime(provider=provider, threads=threads)
    fit: dict[Precision, Scorer] = {}
    reasons: list[ArtifactRejected] = []
    for name in candidates(manifest, precision=precision, is_cuda=runtime.is_cuda):
        try:
            scorer = Scorer.load(folder, manifest, precision=name, runtime=runtime)
            scorer.check_golden()
        except ArtifactRejected as reason:
            reasons.append(reason)
        else:
            fit[name] = scorer
            if runtime.is_cuda:
                break
    if not fit:
        raise reasons[0]
    return {name: scorer.seconds() if len(fit) > 1 else 0.0 for name, scorer in fit.items()}


def candidates(manifest: Manifest, *, precision: Precision, is_cuda: bool) -> list[Precision]:
    """The precisions that may serve on such a device, on a GPU the best first.

    Raises `ArtifactRejected` where there is none.
    """
    suitable = (
        [Precision.FLOAT16_PACKED, Precision.FLOAT16, Precision.FLOAT32]
        if is_cuda
        else [Precision.FLOAT32, Precision.INT8]
    )
    wanted = suitable if precision is Precision.AUTO else [precision]
    found = [name for name in wanted if name in manifest.variants]
    if not found:
        raise ArtifactRejected(f"there is no variant {' or '.join(wanted)}")
    return found


if __name__ == "__main__":
    os.nice(GIVES_WAY)
    folder, provider, threads, precision = sys.argv[1:]
    try:
        measured = main(
            Path(folder), provider=provider, threads=int(threads), precision=Precision(precision)
        )
    except Refusal as refusal:
        sys.stderr.write(str(refusal))
        sys.exit(REJECTED)
    fastest = min(measured, key=lambda name: measured[name])
    sys.stdout.write(json.dumps({"precision": fastest, "seconds": measured}))
