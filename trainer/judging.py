"""The gate's questions about a candidate that was made, by the files that would serve and those that do."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from trainer import gate
from trainer.candidates import Candidate, Workshop
from trainer.examples import Example
from trainer.gate import Answer, Verdict
from trainer.golden import GoldenSet

PRECISION: Final = "float32"
"""Of the gate, where no decision says what serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Whom candidates are compared with, and by what."""

    workshop: Workshop
    golden: GoldenSet
    champion: str
    examples: Sequence[Example]
    """Of the gate queries."""
    alpha: float
    seed: int


def verdicts(candidate: Candidate, bench: Bench) -> list[Verdict]:
    """In order, up to the first that is no pass."""
    precision = served_precision(bench.examples)
    served = partial(bench.workshop.served, precision=precision)
    questions: tuple[Callable[[], Verdict], ...] = (
        lambda: gate.parity(candidate.agreement.get(precision, 0.0)),
        lambda: gate.golden(
            bench.golden.ndcg(served(candidate.version)),
            bench.golden.ndcg(served(bench.champion)),
        ),
        lambda: gate.offline(
            served(candidate.version),
            served(bench.champion),
            bench.examples,
            alpha=bench.alpha,
            expected_gain=candidate.expected_gain,
            seed=bench.seed,
        ),
    )
    given = []
    for ask in questions:
        given.append(ask())
        if given[-1].answer is not Answer.PASS:
            break
    return given


def served_precision(examples: Sequence[Example]) -> str:
    """The precision that most of the decisions were served with."""
    counts = Counter(example.decision.precision for example in examples)
    return counts.most_common(1)[0][0] if counts else PRECISION
