"""What a calibration found: a report for each rubric, as JSON, with all that says what was measured."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from judge import calibration, gold
from judge.calibration import Figures, Table
from judge.gold import Answer, Gold
from judge.offline import judged
from judge.rubric import Rubric
from judge.settings import JudgeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the judge is measured on."""

    gold: Sequence[Gold]
    gold_sha256: str
    """Of the file."""
    answers: Sequence[Answer]
    """Of which nobody said whether they are good; may be none."""
    threshold: float
    """Scores and gold from here on mean a good answer."""

    @classmethod
    def read(cls, gold_file: Path, answers_file: Path | None, *, threshold: float) -> Self:
        """Raises `gold.FileRefused`."""
        return cls(
            gold=gold.read(gold_file, Gold),
            gold_sha256=hashlib.sha256(gold_file.read_bytes()).hexdigest(),
            answers=[] if answers_file is None else gold.read(answers_file, Answer),
            threshold=threshold,
        )

    @property
    def rows(self) -> list[Answer]:
        """All that is judged, the gold first."""
        return [*self.gold, *self.answers]


async def reported(
    sample: Sample, rubric: Rubric, *, settings: JudgeSettings, told: Callable[[], object]
) -> dict[str, Any]:
    """Has every answer judged by that rubric.

    told: called after each answer.
    """
    scores = await judged(sample.rows, rubric=rubric, settings=settings, told=told)
    return report(sample, scores, rubric=rubric, settings=settings)


def report(
    sample: Sample, scores: Sequence[float | None], *, rubric: Rubric, settings: JudgeSettings
) -> dict[str, Any]:
    """scores: (rows,) of `sample.rows`; None where there was no verdict, which is an error and never a 0."""
    of_gold, of_answers = scores[: len(sample.gold)], scores[len(sample.gold) :]
    beside = list(zip(sample.gold, of_gold, strict=True))
    known = [(row.gold, score) for row, score in beside if score is not None]
    table = Table.of(known, threshold=sample.threshold)
    return {
        "rubric": {**rubric.reference(), "sha256": rubric.sha256},
        "provider": None if settings.llm_url is None else settings.llm_url.host,
        "model": settings.llm_model,
        "threshold": sample.threshold,
        "gold_sha256": sample.gold_sha256,
        "n": len(known),
        "errors": len(of_gold) - len(known),
        "counts": asdict(table),
        **asdict(Figures.of(table)),
        "prevalence": (
            _prevalence(of_answers, table, of="answers", threshold=sample.threshold)
            if sample.answers
            else _prevalence(of_gold, table, of="gold", threshold=sample.threshold)
        ),
        "rows": [{"id": row.id, "gold": row.gold, "score": score} for row, score in beside],
    }


def _prevalence(
    scores: Sequence[float | None],
    table: Table,
    *,
    of: Literal["answers", "gold"],
    threshold: float,
) -> dict[str, Any]:
    """How many answers are good, as the judge says and corrected."""
    known = [score for score in scores if score is not None]
    positives = sum(score >= threshold for score in known)
    raw = calibration.rate(positives, len(known))
    corrected = calibration.corrected(positives, len(known), table=table)
    return {
        "of": of,
        "n": len(known),
        "errors": len(scores) - len(known),
        "raw": None if raw is None else asdict(raw),
        "corrected": None if corrected is None else asdict(corrected),
    }
