"""What became of answers that waited for a verdict: judged, unobserved, lost, or judged twice over."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One statement of a judge."""

    decision_id: UUID
    document: int | None
    """Request position, where it speaks of one document."""
    replicate: int
    """1 where an answer was judged again, to see whether the verdict flips."""
    value: float | None
    """In [0, 1]; None where it could not be judged."""
    error: str | None = None
    """Why it could not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Every answer is one of the first three."""

    verdicts: int
    """Answers with a number."""
    errors: int
    """Answers of which a judge says that they are unobserved."""
    lost: int
    """Answers of which no judge says anything."""
    duplicated: int
    """Statements that repeat an earlier one of the same answer, document and replicate."""
    reasons: dict[str, int]
    """Of the errors."""

    @classmethod
    def of(cls, answers: Collection[UUID], said: Iterable[Said]) -> Self:
        by_answer: defaultdict[UUID, list[Said]] = defaultdict(list)
        for each in said:
            by_answer[each.decision_id].append(each)
        judged = {answer for answer in answers if first_value(by_answer[answer]) is not None}
        unobserved = [answer for answer in answers if by_answer[answer] and answer not in judged]
        times = Counter(
            (each.decision_id, each.document, each.replicate)
            for rows in by_answer.values()
            for each in rows
        )
        return cls(
            verdicts=len(judged),
            errors=len(unobserved),
            lost=len(answers) - len(judged) - len(unobserved),
            duplicated=times.total() - len(times),
            reasons=dict(Counter(_reason(by_answer[answer]) for answer in unobserved)),
        )


def first_value(said: Iterable[Said]) -> float | None:
    """The verdict, without its replicates."""
    values = (each.value for each in said if each.replicate == 0 and each.value is not None)
    return next(values, None)


def _reason(said: Iterable[Said]) -> str:
    """Without what the LLM said in particular."""
    reason = next((each.error for each in said if each.error), "")
    return ": ".join(reason.split(": ")[:2])
