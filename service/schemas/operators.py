"""What operators see of models, promotions, runs and evaluations, and how they steer."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.scalars import Note
from service.schemas.strict import Strict
from service.texts import Name

T = TypeVar("T")


class Rollback(Strict):
    """Serve an earlier version again. Without `to`: the champion before the present one."""

    to: Name | None = None
    """A version of this line."""
    line: Name | None = None
    """The service's own line when absent."""
    reason: Annotated[Note, Field(min_length=1)]
    expected_epoch: Annotated[int, Field(ge=1)] | None = None
    """Refuse when the line is not at this epoch any more."""


class _Out(BaseModel):
    model_config = ConfigDict(
        frozen=True, from_attributes=True, use_attribute_docstrings=True, protected_namespaces=()
    )


class Listed(_Out, Generic[T]):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[T]


class Model(_Out):
    """One version of the model."""

    id: str
    """The version."""
    object: Literal["model"] = "model"
    line: str
    live: bool
    """Whether it is the champion that its line serves."""
    status: str
    base: str
    parent: str | None
    run_id: UUID | None
    precisions: list[str]
    created_at: datetime


class Promotion(_Out):
    """A change of what is served; each is a new epoch, a rollback too."""

    line: str
    epoch: int
    previous_epoch: int
    action: str
    version: str
    canary_version: str | None
    canary_share: float
    actor: str
    reason: str
    run_id: UUID | None
    evaluation_id: UUID | None
    created_at: datetime


class Run(_Out):
    """One training round."""

    run_id: UUID
    line: str
    status: str
    champion: str
    produced: str | None
    spec_id: str
    spec_version: int
    n_decisions: int | None
    config: dict[str, Any]
    """The trainer's settings at that time."""
    skipped: dict[str, Any]
    metrics: dict[str, Any]
    error: str | None
    started_at: datetime
    ended_at: datetime | None


class Evaluation(_Out):
    """A verdict of the gate, with its evidence."""

    evaluation_id: UUID
    run_id: UUID | None
    line: str
    version: str
    champion: str
    kind: str
    estimator: str
    verdict: str
    reason: str
    estimate: float | None
    low: float | None
    high: float | None
    alpha: float | None
    n: int | None
    clusters: int | None
    effective_share: float | None
    detail: dict[str, Any]
    created_at: datetime
