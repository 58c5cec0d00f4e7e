"""Reward specs in files, YAML or JSON: what a spec may say, and refusals that name what it must not."""

from pathlib import Path
from typing import Annotated, Final, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.records import Source
from contract.refusals import Refusal
from contract.rewards import Combine, RewardSpec

_BUILT_IN: Final = RewardSpec()

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Names: TypeAlias = tuple[Name, ...]


class SpecRefused(Refusal):
    """The file is no reward spec."""


class SpecFile(BaseModel):
    """A file's fields; what it leaves out is as in the built-in spec. Versions are numbered where specs are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name = _BUILT_IN.id
    names: Annotated[Names, Field(min_length=1)] = _BUILT_IN.names
    multipliers: Names = _BUILT_IN.multipliers
    document_names: Names = _BUILT_IN.document_names
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = _BUILT_IN.sources
    combine: Combine = _BUILT_IN.combine
    wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = _BUILT_IN.wait_s
    reopen_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _BUILT_IN.reopen_s

    @model_validator(mode="after")
    def _say_each_once(self) -> Self:
        for field in ("names", "multipliers", "document_names", "sources"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} names something twice")
        both = sorted(set(self.names) & set(self.multipliers))
        if both:
            raise ValueError(f"{both} cannot be a reward and its multiplier")
        return self

    @model_validator(mode="after")
    def _leave_time(self) -> Self:
        if self.reopen_s <= self.wait_s:
            raise ValueError("reopen_s must be above wait_s: no reward would ever be derived")
        return self

    def to(self) -> RewardSpec:
        return RewardSpec(**{name: getattr(self, name) for name in type(self).model_fields})


def read(path: Path) -> RewardSpec:
    """The spec of a file; JSON is YAML too.  Raises `SpecRefused`."""
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecRefused(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecRefused(f"{path}: neither YAML nor JSON: {error}") from error
    if not isinstance(written, dict):
        raise SpecRefused(f"{path}: holds no names with values")
    try:
        return SpecFile.model_validate(written).to()
    except ValidationError as error:
        raise SpecRefused(f"{path}: {_in_words(error)}") from error


def _in_words(error: ValidationError) -> str:
    found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
    return "; ".join(f"{where}: {what}" if where else what for where, what in found)
