"""What operators see of models, promotions, runs and evaluations, and how they steer."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import ConfigDict, Field

from service.schemas.scalars import WHOLE, Note
from service.schemas.strict import Out, Strict
from service.texts import Name

T = TypeVar("T")


class Change(Strict):
    """Something that makes a new epoch."""

    line: Name | None = None
    """The service's own line when absent."""
    reason: Annotated[Note, Field(min_length=1)]
    """Why, for whoever reads it later."""
    expected_epoch: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Refuse when the line is not at this epoch any more."""


class Rollback(Change):
    """Serve an earlier version again. Without `to`: the champion before the present one."""

    to: Name | None = None
    """A version of this line, or at least eight characters that it alone begins with."""


class Promote(Change):
    """Serve a version of the line, whatever the gate said of it."""

    version: Name
    """As `GET /v1/models` lists it, or at least eight characters that it alone begins with."""


class Canary(Change):
    """Let a version of the line answer a share of the sessions, beside the champion."""

    version: Name
    """As `GET /v1/models` lists it, or at least eight characters that it alone begins with."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of the sessions, and of the requests that name none."""


class EndCanary(Change):
    """Let the champion answer alone again."""


class HoldBack(Change):
    """Let the base of the line answer a share of the sessions for good, beside every champion."""

    share: Annotated[float, Field(ge=0, lt=0.5)]
    """Of the sessions, and of the requests that name none; 0 ends it. A canary gets up to half beside it."""


class Rebuild(Change):
    """Serve the base of the line again, and learn from it anew."""


class Freeze(Change):
    """Stop the trainer of a line, or let it go on: while it is frozen it begins no round and publishes nothing."""

    frozen: bool = True
    """False lets it go on."""


class Listed(Out, Generic[T]):
    """Newest first."""

    model_config = ConfigDict(json_schema_extra={"description": "Newest first."})

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[T]
    """The entries."""


class Model(Out):
    """One version of the model."""

    id: str
    """The version."""
    object: Literal["model"] = "model"
    """Always `model`."""
    line: str
    """The line that it belongs to."""
    live: bool
    """Whether it is the champion that its line serves."""
    status: str
    """What has become of it, as `candidate`, `champion` or `retired`."""
    base: str
    """The family of models that it grew from."""
    parent: str | None
    """The version that it was trained from."""
    run_id: UUID | None
    """The training round that made it."""
    precisions: list[str]
    """The variants that it can be served in."""
    created_at: datetime
    """When it was registered."""


class Promotion(Out):
    """A change of what is served; each is a new epoch, a rollback too."""

    line: str
    """The line that it changed."""
    epoch: int
    """Which change of the line it is, counted from 1."""
    previous_epoch: int
    """The epoch that it replaced; 0 before the first."""
    action: str
    """What was done, as `promote` or `rollback`."""
    version: str
    """What is served since."""
    canary_version: str | None
    """A second version that answers a share of the requests."""
    canary_share: float
    """That share."""
    hold_back_version: str | None
    """The base of the line, where it answers a share of the requests for good."""
    hold_back_share: float
    """That share; while the base is the champion, nobody is held back."""
    actor: str
    """Who did it."""
    reason: str
    """Why, in their words."""
    run_id: UUID | None
    """The training round that led to it."""
    evaluation_id: UUID | None
    """The verdict that it rests on."""
    created_at: datetime
    """When it was done."""


class Run(Out):
    """One training round."""

    run_id: UUID
    """Its id."""
    line: str
    """The line that it trained for."""
    status: str
    """How far it came, as `promoted`, `canary` or `rejected`."""
    champion: str
    """The version that it started from."""
    produced: str | None
    """The version that it made."""
    spec_id: str
    """The reward that it learned from."""
    spec_version: int
    """Of that reward."""
    n_decisions: int | None
    """How many decisions it learned from."""
    config: dict[str, Any]
    """The trainer's settings at that time."""
    skipped: dict[str, Any]
    """How many it could not learn from, by the reason."""
    metrics: dict[str, Any]
    """What it measured on its way."""
    error: str | None
    """Why it failed."""
    started_at: datetime
    """When it began."""
    ended_at: datetime | None
    """When it was done."""


class Evaluation(Out):
    """A verdict, of the gate or of users, with its evidence."""

    evaluation_id: UUID
    """Its id."""
    run_id: UUID | None
    """The training round that asked for it."""
    line: str
    """The line that it was made for."""
    version: str
    """The version on trial."""
    champion: str
    """What it was compared with."""
    kind: str
    """What kind of comparison it is."""
    estimator: str
    """How the difference was estimated."""
    verdict: str
    """What it comes to, as `pass` or `refuse`."""
    reason: str
    """Why, in words."""
    estimate: float | None
    """By how much the version is better."""
    low: float | None
    """The lower end of the interval around it."""
    high: float | None
    """The upper end."""
    alpha: float | None
    """How often such an interval misses."""
    n: int | None
    """How many decisions it rests on."""
    clusters: int | None
    """How many independent groups they form."""
    effective_share: float | None
    """How much of them the weights leave."""
    detail: dict[str, Any]
    """The rest of the evidence."""
    created_at: datetime
    """When it was made."""
