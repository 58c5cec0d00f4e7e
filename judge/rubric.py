"""A rubric: what the LLM is asked, under a name, a version and the hash of its file."""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)

from judge.refusals import in_words

RUBRICS: Final = Path(__file__).parent / "rubrics"

# The service knows a rubric as id@version, of 200 characters at most.
Line = Annotated[str, StringConstraints(min_length=1, max_length=99, pattern=r"^[^\n]*$")]


class RubricRefused(Exception):
    """The file is no rubric; the message says why."""


class Kind(StrEnum):
    """What the LLM finds, and so what its reply looks like."""

    ANSWER = "answer"
    """One score of the answer."""
    CLAIMS = "claims"
    """Of the answer's claims, which are supported: the verdict is their share."""
    DOCUMENTS = "documents"
    """One score of each document."""
    PAIR = "pair"
    """Which of two answers is better."""


class Rubric(BaseModel):
    """One question put to every answer; a changed file is another hash, and should be another version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Line
    version: Line
    kind: Kind = Kind.ANSWER
    name: Line
    """The name of the feedback that a verdict becomes."""
    scale: tuple[FiniteFloat, FiniteFloat] = (0.0, 1.0)
    """The worst and the best score that the LLM may give; a verdict is where between them it is."""
    instructions: Annotated[str, StringConstraints(min_length=1)]
    sha256: str

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        worst, best = self.scale
        if not worst < best:
            raise ValueError("scale: the worst score first, then the best")
        return self

    @classmethod
    def named(cls, name: str) -> Self:
        """A shipped one by its name, any other by its path.  Raises `RubricRefused`."""
        shipped = {path.stem: path for path in RUBRICS.glob("*.yaml")}
        return cls.from_file(shipped.get(name, Path(name)))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Raises `RubricRefused`."""
        try:
            data = path.read_bytes()
            fields = yaml.safe_load(data)
        except OSError as error:
            raise RubricRefused(f"{path}: {error.strerror}") from error
        except (ValueError, yaml.YAMLError) as error:
            raise RubricRefused(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(fields, dict):
            raise RubricRefused(f"{path}: is not a mapping of fields")
        try:
            return cls.model_validate(fields | {"sha256": hashlib.sha256(data).hexdigest()})
        except ValidationError as error:
            raise RubricRefused(f"{path}: {in_words(error)}") from error

    def reference(self) -> dict[str, str]:
        """How the service knows it."""
        return {"id": self.id, "version": self.version}
