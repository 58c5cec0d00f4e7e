"""Rubrics of the tests' own."""

from judge.rubric import Rubric


def rubric(**changes: object) -> Rubric:
    fields = {
        "id": "r",
        "version": "1",
        "name": "quality",
        "instructions": "Grade it.",
        "sha256": "",
    }
    return Rubric.model_validate(fields | changes)
