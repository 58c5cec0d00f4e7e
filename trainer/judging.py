"""The gate's questions about a candidate that was made, by the files that would serve and those that do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trainer import gate
from trainer.candidates import Candidate, Workshop
from trainer.examples import Example
from trainer.gate import Answer, Verdict
from trainer.golden import GoldenSet
from trainer.replay import Played
from trainer.scoring import Served, on_a_cpu

PRECISION: Final = "float32"
"""Of the gate, where no decision says what serves."""
SCALE: Final = "share of pairs won less the share lost"


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
    played: Mapping[str, Played] = field(default_factory=dict)
    """By version, the pairs of its answers and the champion's: where there are some, the log is not asked."""

    @property
    def precision(self) -> str:
        return served_precision(self.examples)

    def served(self, version: str) -> Served:
        return self.workshop.served(version, self.precision)


def verdicts(candidate: Candidate, bench: Bench) -> list[Verdict]:
    """In order, up to the first that is no pass."""
    given = admitted(candidate, bench)
    if given[-1].answer is Answer.PASS:
        given.append(_gain(candidate, bench))
    return given


def admitted(candidate: Candidate, bench: Bench) -> list[Verdict]:
    """What can be asked without a single reward."""
    given = [gate.parity(candidate.agreement.get(bench.precision, 0.0))]
    if given[-1].answer is Answer.PASS:
        ours, theirs = (
            bench.golden.ndcg(bench.served(version))
            for version in (candidate.version, bench.champion)
        )
        given.append(gate.golden(ours, theirs))
    return given


def _gain(candidate: Candidate, bench: Bench) -> Verdict:
    played = bench.played.get(candidate.version)
    if played is not None:
        return gate.compared(played, alpha=bench.alpha, detail={"scale": SCALE})
    return gate.offline(
        bench.served(candidate.version),
        bench.served(bench.champion),
        bench.examples,
        alpha=bench.alpha,
        expected_gain=candidate.expected_gain,
        seed=bench.seed,
    )


def served_precision(examples: Sequence[Example]) -> str:
    """The precision that most of the decisions were served with, or what stands for it on a CPU."""
    counts = Counter(on_a_cpu(example.decision.precision) for example in examples)
    return counts.most_common(1)[0][0] if counts else PRECISION
