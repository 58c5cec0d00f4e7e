"""Answers in JSON lines, with what people say of them or without.

{"query": "...", "documents": ["...", "..."], "answer": "...", "gold": 1}
"""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from judge.refusals import in_words


class FileRefused(ValueError):
    """A file that does not hold such answers; the message names the line."""


class Answer(BaseModel):
    """One answer to judge."""

    # A misspelt name would otherwise be an optional field that nobody gave.
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(coerce_numbers_to_str=True)] = ""
    """The line's number where the line gives none."""
    query: str = Field(min_length=1)
    documents: list[str]
    """What the assistant read, in its order."""
    answer: str = Field(min_length=1)
    reference: str | None = None
    """A correct answer, for rubrics that compare with one."""


class Gold(Answer):
    """An answer that people judged."""

    gold: float = Field(ge=0, le=1)
    """1 or true is good, 0 or false is bad."""


Row = TypeVar("Row", bound=Answer)


def read(path: Path, kind: type[Row]) -> list[Row]:
    """At least one row, in the file's order; empty lines are passed over.  Raises `FileRefused`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileRefused(f"{path}: is not UTF-8 text") from error
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
    # Not splitlines(): JSON strings may hold U+2028 and its like.
    numbered = enumerate(text.split("\n"), 1)
    rows = [_row(line, kind, path=path, number=number) for number, line in numbered if line.strip()]
    if not rows:
        raise FileRefused(f"{path}: holds no answers")
    return rows


def _row(line: str, kind: type[Row], *, path: Path, number: int) -> Row:
    try:
        found = kind.model_validate_json(line)
    except ValidationError as error:
        raise FileRefused(f"{path}, line {number}: {in_words(error)}") from error
    return found if found.id else found.model_copy(update={"id": str(number)})
