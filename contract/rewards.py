"""Reward specs: from the feedback of a decision to one number, whatever order it came in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from contract.records import Feedback, Reward, Source

Combine: TypeAlias = Literal["latest", "mean", "min", "max"]

_COMBINE: Final[Mapping[Combine, Callable[[Sequence[float]], float]]] = {
    "latest": max,
    "mean": lambda values: fmean(sorted(values)),
    "min": min,
    "max": max,
}
"""Of what is heard; of the latest there is one."""


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

    Corrections replace what they supersede, tombstones remove it, errors and what is in shadow count for nothing, of an
    LLM judge the newest version alone speaks; values are cut to [0, 1].
    """
    rows = list(feedback)
    said = of_newest_judge(standing(rows))
    base = base_name(spec, said)
    value = None if base is None else _combined(spec, said, base)
    for name in spec.multipliers:
        factor = _combined(spec, said, name)
        value = value if value is None or factor is None else value * factor
    return Reward(
        value=value,
        credits=_credits(spec, said),
        feedback_count=len(rows),
        observation=_observation(spec, said, base),
    )


def counted(spec: RewardSpec, feedback: Iterable[Feedback]) -> list[Feedback]:
    """The statements that the reward and the credits are made of."""
    said = of_newest_judge(standing(list(feedback)))
    base = base_name(spec, said)
    about_all = () if base is None else (base, *spec.multipliers)
    return [
        *(row for name in about_all for row in heard(spec, said, name)),
        *(
            row
            for document, name in credit_names(spec, said).items()
            for row in heard(spec, said, name, document)
        ),
    ]


def standing(rows: Sequence[Feedback]) -> list[Feedback]:
    """What was not taken back, superseded, or an error.

    What is in shadow is none of it, and takes nothing back either: a judge on trial changes no reward.
    """
    spoken = [row for row in rows if not row.shadow]
    replaced = {row.supersedes for row in spoken if row.supersedes is not None}
    return [
        row
        for row in spoken
        if row.id not in replaced and not row.retracted and row.value is not None
    ]


def of_newest_judge(said: Sequence[Feedback]) -> list[Feedback]:
    """Without the LLM verdicts of a name that an earlier version of the judge gave than the newest one of that name.

    Two rubrics or two LLMs do not mean the same by a number: no mean, minimum or order holds both.
    """
    verdicts = sorted((row for row in said if row.source is Source.LLM_JUDGE), key=_age)
    newest = {row.name: row.judge for row in verdicts}
    return [
        row for row in said if row.source is not Source.LLM_JUDGE or row.judge == newest[row.name]
    ]


def base_name(spec: RewardSpec, said: Sequence[Feedback]) -> str | None:
    """The first of the spec's names that anybody used: synonyms, not summands."""
    return next((name for name in spec.names if heard(spec, said, name)), None)


def heard(
    spec: RewardSpec, said: Sequence[Feedback], name: str, document: int | None = None
) -> list[Feedback]:
    """What the most trusted source that spoke says under that name."""
    about = [row for row in said if row.name == name and row.document == document]
    for source in spec.sources:
        trusted = [row for row in about if row.source == source]
        if trusted:
            return [max(trusted, key=_age)] if spec.combine == "latest" else trusted
    return []


def credit_names(spec: RewardSpec, said: Sequence[Feedback]) -> dict[int, str]:
    """Of each document that somebody spoke of, the first of the spec's names that was used."""
    documents = sorted({row.document for row in said if row.document is not None})
    return {
        document: name
        for document in documents
        for name in reversed(spec.document_names)  # the last one that is found stands
        if heard(spec, said, name, document)
    }


def _combined(
    spec: RewardSpec, said: Sequence[Feedback], name: str, document: int | None = None
) -> float | None:
    rows = heard(spec, said, name, document)
    return _COMBINE[spec.combine](list(map(_value, rows))) if rows else None


def _observation(spec: RewardSpec, said: Sequence[Feedback], base: str | None) -> float:
    """That of the likeliest statement that the reward rests on."""
    rows = [] if base is None else heard(spec, said, base)
    return max((row.observation for row in rows), default=1.0)


def _credits(spec: RewardSpec, said: Sequence[Feedback]) -> dict[int, float]:
    combined = {
        document: _combined(spec, said, name, document)
        for document, name in credit_names(spec, said).items()
    }
    return {document: value for document, value in combined.items() if value is not None}


def _age(row: Feedback) -> tuple[datetime, UUID]:
    return row.occurred_at, row.id


def _value(row: Feedback) -> float:
    return min(1.0, max(0.0, row.value or 0.0))
