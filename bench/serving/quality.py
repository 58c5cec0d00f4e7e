"""`python -m bench.serving.quality --data DIR`: what int8 does to a ranking, on the test questions of a real set.

Each question has the 50 passages that BM25 finds first among all test passages; those that an annotator took the
question from are relevant. Both precisions of the default base score them with the files that serve.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.serving import results, versions
from bench.serving.measures import bootstrap
from contract import environment
from contract.artifact import MANIFEST, Manifest
from contract.records import Candidate
from service.bench import look
from trainer import datasets, gate
from trainer.datasets import Dataset
from trainer.scoring import Served

logger = logging.getLogger("bench.serving.quality")

CANDIDATES: Final = 50
QUESTIONS: Final = 300
EXACT: Final = "float32"
ROUGH: Final = "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    query: str
    candidates: Sequence[Candidate]
    gains: Sequence[float]
    """1 of a relevant candidate, 0 of any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One question, scored by both."""

    overlap: float
    """Share of the first ten that both have."""
    exact: float
    """nDCG@10 in float32."""
    rough: float


def asked(data: Dataset, *, questions: int) -> list[Asked]:
    """A draw of test questions whose candidates hold something relevant."""
    rng = random.Random(0)  # noqa: S311 -- a seeded draw, no secret
    found: list[Asked] = []
    for question in rng.sample(data.questions["test"], len(data.questions["test"])):
        candidates = data.candidates(question, n=CANDIDATES)
        gains = [float(each.passage.id in question.gold) for each in candidates]
        if any(gains):
            texts = [Candidate(text=each.passage.text, score=each.score) for each in candidates]
            found.append(Asked(query=question.text, candidates=texts, gains=gains))
        if len(found) == questions:
            break
    return found


def compared(each: Asked, exact: NDArray[np.float64], rough: NDArray[np.float64]) -> Compared:
    """exact, rough: (n,) logits."""
    return Compared(
        overlap=look.overlap([rough], [exact]),
        exact=gate.ndcg(exact, each.gains),
        rough=gate.ndcg(rough, each.gains),
    )


def summary(found: Sequence[Compared]) -> dict[str, Any]:
    """Means over the questions, with 95 % intervals."""
    return {
        "questions": len(found),
        "candidates": CANDIDATES,
        "top10_overlap": round(_overlap(found), 4),
        "top10_overlap_95": [round(bound, 4) for bound in bootstrap(found, _overlap)],
        "ndcg10_float32": round(fmean(each.exact for each in found), 4),
        "ndcg10_int8": round(fmean(each.rough for each in found), 4),
        "ndcg10_change": round(_change(found), 4),
        "ndcg10_change_95": [round(bound, 4) for bound in bootstrap(found, _change)],
    }


def _overlap(found: Sequence[Compared]) -> float:
    return fmean(each.overlap for each in found)


def _change(found: Sequence[Compared]) -> float:
    return fmean(each.rough - each.exact for each in found)


def _served(precision: str) -> Served:
    folder = versions.real().first
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    return Served.load(folder, manifest, precision=precision, threads=environment.cores())


def main() -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=QUESTIONS, help="questions")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("needs --data: only a real set says what a ranking is worth")
    exact, rough = _served(EXACT), _served(ROUGH)
    questions = asked(datasets.load(arguments.data), questions=arguments.rounds)
    found = [
        compared(
            each,
            exact.logits(each.query, each.candidates),
            rough.logits(each.query, each.candidates),
        )
        for each in questions
    ]
    logger.info("%s", summary(found))
    results.write("quality", {"set": arguments.data.name, **summary(found)}, options=arguments)


if __name__ == "__main__":
    main()
