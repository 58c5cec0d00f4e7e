"""Which answers a judge reads, where it does not read all, and how likely each of them was to be among those.

An answer is read when its draw is below its probability. The draw is a hash: all judges agree on it, a repeat changes
nothing, and who raises a probability keeps what was read before.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    ScalarSelect,
    Text,
    case,
    cast,
    func,
    literal,
    select,
)

from contract.records import Arm
from contract.tables import answers, decisions
from service.schemas.judge import Sampling

_BITS: Final = 53
"""Of a hash's 64, what a float holds: with more of them, the highest would be rounded up to 1."""


def draw(rubric: str) -> ColumnElement[float]:
    """Where the answer stands in [0, 1), uniformly over decisions, and anew for each rubric."""
    drawn = cast(answers.c.decision_id, Text) + literal(rubric)
    hashed = func.hashtextextended(drawn, 0, type_=BigInteger())
    highest_bits = hashed.bitwise_rshift(literal(64 - _BITS, Integer()))
    return cast(highest_bits, Double) * 2.0**-_BITS + 0.5


def probability(sampling: Sampling) -> ColumnElement[float]:
    """The largest of the floor and those of the strata that the decision is in."""
    strata = (
        (sampling.explored, decisions.c.explored),
        (sampling.canary, decisions.c.arm == Arm.CANARY),
        (sampling.low_margin, _lead() < sampling.margin),
    )
    # What raises nothing is not looked at: by default no logits are read.
    higher = (case((within, share)) for share, within in strata if share > sampling.floor)
    return func.greatest(literal(sampling.floor), *higher, type_=Double())


def highest(sampling: Sampling) -> float:
    """What no probability exceeds."""
    return max(sampling.floor, sampling.explored, sampling.canary, sampling.low_margin)


def _lead() -> ScalarSelect[float]:
    """By how much the best logit exceeds the second; NULL where there are not two.

    Of logits, which are what is stored and what the sampler compared: at temperature T the odds that the two are drawn
    in this order are exp(lead / T).
    """
    logit = func.unnest(decisions.c.logits).column_valued("logit")
    best = select(logit).correlate(decisions).order_by(logit.desc()).limit(2).subquery("best")
    return (
        select(func.max(best.c.logit) - func.min(best.c.logit))
        .having(func.count() == 2)  # noqa: PLR2004 - two
        .scalar_subquery()
    )
