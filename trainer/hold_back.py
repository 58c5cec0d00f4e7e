"""Is what was learned better for users than what the line began with? The champion, beside the base that is held back.

The base answers its share of the units under every champion. The present one is compared with it over all epochs in
which both answered, and so are all champions together, by the sequence that judges canaries: one may look at any time.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection

from contract.pointer import Live
from contract.rewards import RewardSpec
from trainer import canary, looks, sequences, trial
from trainer.canary import Limits, Pair
from trainer.gate import Answer
from trainer.looks import Look

logger = logging.getLogger(__name__)

KIND: Final = "hold_back"
SINCE: Final = "all champions since the hold-back began"
MEASURES: Final = ("reward", "coverage")
"""What is compared: requests that fail are counted while there is a canary alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The champion's reward less the base's."""

    value: float
    low: float
    high: float
    units: tuple[int, int]
    """Judged ones, of the champion and of the base."""
    answer: Answer
    reason: str


def compare(pairs: Sequence[Pair], limits: Limits) -> Compared:
    """pairs: the base and the champion, stage by stage."""
    gain = sequences.difference([(champion.reward, base.reward) for _, base, champion in pairs])
    low, high = (float(bound) for bound in sequences.interval(gain, alpha=limits.alpha))
    value = float(gain.value)
    units = (
        sum(int(champion.reward.count) for *_, champion in pairs),
        sum(int(base.reward.count) for _, base, _ in pairs),
    )
    words = (
        f"{canary.interval_in_words(value, low, high)},"
        f" over {units[0]} units of the champion and {units[1]} of the base"
    )
    answer, reason = _said(pairs, limits, fewest=min(units), low=low, high=high, words=words)
    return Compared(value=value, low=low, high=high, units=units, answer=answer, reason=reason)


def _said(
    pairs: Sequence[Pair], limits: Limits, *, fewest: int, low: float, high: float, words: str
) -> tuple[Answer, str]:
    if fewest < limits.min_units:
        return Answer.NOT_ENOUGH_EVIDENCE, canary.too_few(fewest, limits)
    incomparable = canary.unequal(pairs, whose="the base's", alpha=limits.guard_alpha)
    if incomparable is not None:
        return Answer.NOT_ENOUGH_EVIDENCE, incomparable
    if low > 0:
        return Answer.PASS, f"it is better than the base: {words}"
    if high < 0:
        return Answer.REFUSE, f"it is worse than the base: {words}"
    return Answer.NOT_ENOUGH_EVIDENCE, words


def look(
    connection: Connection, live: Live, spec: RewardSpec, *, limits: Limits, now: datetime
) -> Compared | None:
    """What is known by now, which is stored too; None where nobody is held back."""
    base = live.held_back
    if base is None:
        return None
    beside = trial.held_back(connection, live)
    pairs = trial.pairs(connection, beside, spec, now=now)
    champions = [shares.champion for shares in beside.shares]
    own = [pair for pair, each in zip(pairs, champions, strict=True) if each == live.version]
    compared, ever = compare(own, limits), compare(pairs, limits)
    found = Look(
        kind=KIND,
        line=live.line,
        version=live.version,
        champion=base,
        value=compared.value,
        low=compared.low,
        high=compared.high,
        alpha=limits.alpha,
        units=sum(compared.units),
        answer=compared.answer,
        reason=compared.reason
        if ever == compared
        else f"{compared.reason}; {SINCE}: {ever.reason}",
        detail={
            "units": dict(zip(("champion", "base"), compared.units, strict=True)),
            "all_champions": ever.reason,
            "stages": list(map(_told, champions, pairs)),
        },
    )
    name = f"rankloop:{KIND}:{live.line}:{live.version}:{base}"
    looks.store(connection, found, evaluation_id=uuid5(NAMESPACE_URL, name))
    logger.info("hold_back.looked version=%s reason=%s", live.version, compared.reason)
    return compared


def _told(version: str, pair: Pair) -> dict[str, Any]:
    share, base, champion = pair
    sums = {"base": base, "champion": champion}
    return {
        "version": version,
        "share": share,
        **{name: looks.sums(arm, *MEASURES) for name, arm in sums.items()},
    }
