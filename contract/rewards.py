"""Reward specs: from the feedback of a decision to one number, whatever order it came in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal, TypeAlias

from contract.records import Feedback, Reward, Source

Combine: TypeAlias = Literal["latest", "mean", "min", "max"]

_COMBINE: Final[Mapping[Combine, Callable[[Sequence[Feedback]], float]]] = {
    "latest": lambda said: _value(max(said, key=lambda item: (item.occurred_at, item.id))),
    "mean": lambda said: fmean(sorted(map(_value, said))),
    "min": lambda said: min(map(_value, said)),
    "max": lambda said: max(map(_value, said)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSpec:
    """Which feedback counts, how several values become one, and how long to wait for them."""

    id: str = "answer_quality"
    version: int = 1
    names: tuple[str, ...] = ("reward", "correct", "thumb", "quality")
    """Feedback about the decision as a whole that is a reward in [0, 1]."""
    multipliers: tuple[str, ...] = ("faithfulness",)
    """Feedback in [0, 1] that the reward is multiplied by."""
    document_names: tuple[str, ...] = ("relevance", "utility")
    """Feedback about one document that is credit for it in [0, 1]."""
    sources: tuple[Source, ...] = tuple(Source)
    """Most trusted first: of one name, the values of the most trusted source that spoke count."""
    combine: Combine = "latest"
    wait_s: float = 900.0
    """A decision's reward is derived once it is this old."""
    reopen_s: float = 7 * 86_400.0
    """Later feedback still revises the reward until the decision is this old."""

    def definition(self) -> dict[str, Any]:
        """The spec as JSON, as `reward_specs` stores it."""
        return {name: getattr(self, name) for name in self.__slots__}


def reward(spec: RewardSpec, feedback: Iterable[Feedback]) -> Reward:
    """The reward of one decision.

    Corrections replace what they supersede, tombstones remove it, errors count for nothing; values
    are cut to [0, 1].
    """
    rows = list(feedback)
    standing = _standing(rows)
    base = _first_name(spec, standing)
    factors = [_combined(spec, standing, name) for name in spec.multipliers]
    value = base
    for factor in factors:
        value = value if value is None or factor is None else value * factor
    return Reward(value=value, credits=_credits(spec, standing), feedback_count=len(rows))


def _standing(rows: Sequence[Feedback]) -> list[Feedback]:
    replaced = {row.supersedes for row in rows if row.supersedes is not None}
    return [
        row
        for row in rows
        if row.id not in replaced and not row.retracted and row.value is not None
    ]


def _first_name(spec: RewardSpec, standing: Sequence[Feedback]) -> float | None:
    """The value of the first of the spec's names that anybody used: synonyms, not summands."""
    values = (_combined(spec, standing, name) for name in spec.names)
    return next((value for value in values if value is not None), None)


def _combined(
    spec: RewardSpec, standing: Sequence[Feedback], name: str, document: int | None = None
) -> float | None:
    said = [row for row in standing if row.name == name and row.document == document]
    for source in spec.sources:
        trusted = [row for row in said if row.source == source]
        if trusted:
            return _COMBINE[spec.combine](trusted)
    return None


def _credits(spec: RewardSpec, standing: Sequence[Feedback]) -> dict[int, float]:
    documents = sorted({row.document for row in standing if row.document is not None})
    credit: dict[int, float] = {}
    for document in documents:
        for name in spec.document_names:
            value = _combined(spec, standing, name, document)
            if value is not None:
                credit.setdefault(document, value)
    return credit


def _value(row: Feedback) -> float:
    return min(1.0, max(0.0, row.value or 0.0))
