"""What goes to the service and what comes back, as frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

Id: TypeAlias = str | UUID
Value: TypeAlias = bool | float | str
SourceType: TypeAlias = Literal["HUMAN", "END_USER", "LLM_JUDGE", "CODE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One candidate."""

    text: str
    id: str | None = None
    """Your own id of it; feedback may name it instead of a position."""
    score: float | None = None
    """The first stage's, higher is better: an input of the model."""
    metadata: Mapping[str, Any] | None = None
    """Stays here and comes back with the ranking; only the fields that `rank_fields` names are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One document of a ranking."""

    index: int
    """Its position in the request."""
    relevance_score: float
    """Strictly falls along the ranking, explored or not; in 0..1, a logit with `raw_scores`."""
    model_score: float
    """What the model says of this document itself."""
    document: Document
    """As it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """An answered rerank request; `id` is what answers and feedback refer to."""

    id: str
    results: tuple[Ranked, ...]
    """Best first."""
    line: str
    version: str
    epoch: int
    arm: str
    explored: bool
    """Whether the order was drawn instead of the best one."""
    logged: bool
    degraded: bool
    truncated: tuple[int, ...]
    """Request positions of the documents whose end did not fit the model."""
    total_tokens: int
    feedback_token: str = field(repr=False)
    """For a browser: authorises feedback about this decision, as END_USER, and nothing else."""

    @property
    def documents(self) -> list[Document]:
        """Best first."""
        return [result.document for result in self.results]

    @property
    def texts(self) -> list[str]:
        """Best first."""
        return [result.document.text for result in self.results]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A decision that was found by its content."""

    decision_id: str
    used: tuple[int, ...]
    """Request positions of the documents of the prompt, for the answer."""
    answered: bool
    """Whether somebody said already what the LLM did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer that is stored. `pending`: its decision is on its way, both meet in the database."""

    decision_id: str
    status: str
    used_k: int
    used_is_prefix: bool | None
    """Whether the beginning of what was shown was used; otherwise nothing is learned from it. None: not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One statement about a decision. `value` is what was found; `error` says instead why nothing could be."""

    decision_id: Id
    name: str
    value: Value | None = None
    error: str | None = None
    document: int | str | None = None
    """The one document that it speaks of, by its position in the request or by your own id of it."""
    source: SourceType = "END_USER"
    source_id: str = "app"
    """Who says so: a widget, a person, a metric."""
    rationale: str | None = None
    metadata: Mapping[str, Any] | None = None
    occurred_at: datetime | None = None
    supersedes: Id | None = None
    """The id of the feedback that this one corrects."""
    judge: Mapping[str, Any] | None = None
    """How an LLM judge came to it, as the HTTP API has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of one statement."""

    feedback_id: str
    decision_id: str
    status: str
    """`stored`; `duplicate`, said before; `pending`, the decision is on its way; `late`, the reward will be revised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why one item of a batch was not stored; `status` is what it would have got alone."""

    status: int
    type: str
    detail: str


Documents: TypeAlias = Sequence[str | Document]
