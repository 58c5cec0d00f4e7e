"""What a judge works by: its settings and the files that they name, all read before it begins."""

from dataclasses import dataclass
from typing import Self

from judge.rubric import Kind, Rubric, RubricRefused
from judge.settings import PREFIX, JudgeSettings
from judge.template import SHIPPED, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """Nothing of it changes while a judge runs."""

    settings: JudgeSettings
    rubric: Rubric
    """By which one answer is judged, or its documents."""
    pair_rubric: Rubric
    """By which two answers are compared."""
    template: Template
    """Of the reader's prompt."""

    @classmethod
    def of(cls, settings: JudgeSettings) -> Self:
        """Raises `RubricRefused`, `TemplateRefused`."""
        rubric = Rubric.named(settings.rubric)
        pair_rubric = Rubric.named(settings.pair_rubric)
        if rubric.kind is Kind.PAIR:
            raise RubricRefused(
                f"{PREFIX}RUBRIC: {settings.rubric} compares two answers, and one is judged at a time;"
                f" it belongs into {PREFIX}PAIR_RUBRIC"
            )
        if pair_rubric.kind is not Kind.PAIR:
            raise RubricRefused(
                f"{PREFIX}PAIR_RUBRIC: {settings.pair_rubric} is of the kind {pair_rubric.kind}, and"
                f" two answers are compared by one of the kind {Kind.PAIR}"
            )
        return cls(
            settings=settings,
            rubric=rubric,
            pair_rubric=pair_rubric,
            template=Template.from_file(settings.reader_prompt or SHIPPED),
        )
