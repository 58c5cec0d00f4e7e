"""What travels from service to trainer: a decision, what was said of it, what it was worth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from contract.policy import Choice, Policy

SHADOW: Final = "shadow"
"""The flag of a judge whose statements are only to be seen."""

Span: TypeAlias = tuple[int, int]
"""Characters of a text: from the first up to and without the second."""


class Arm(StrEnum):
    """Which model answered."""

    CHAMPION = "champion"
    CANARY = "canary"
    HOLD_BACK = "hold_back"
    PINNED = "pinned"


class Source(StrEnum):
    """Who says so, most trusted first."""

    HUMAN = "HUMAN"
    END_USER = "END_USER"
    LLM_JUDGE = "LLM_JUDGE"
    CODE = "CODE"


class NotLearnable(StrEnum):
    """Why a decision is stored and never trains: it has no support, no known propensity, or was held back."""

    EXPLORE_NEVER = "explore_never"
    NO_EXPLORATION = "no_exploration"
    BUDGET_SPENT = "budget_spent"
    DEGRADED = "degraded"
    PINNED = "pinned"
    HOLD_BACK = "hold_back"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One document of a request."""

    text: str
    key: str | None = None
    """The app's own id of it."""
    score: float | None = None
    """The first stage's score, higher is better."""
    span: Span | None = None
    """The part of the text that the logit is of; None where it is the text as far as it fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answered request: what was offered, what was shown, how likely, and by whose logits."""

    id: UUID
    tenant: str
    line: str
    query: str
    candidates: tuple[Candidate, ...]
    """In request order: the first stage's order."""
    logits: NDArray[np.float64]
    """(n,) in request order, exactly what the policy used."""
    policy: Policy
    choice: Choice
    version: str
    epoch: int
    precision: str
    arm: Arm = Arm.CHAMPION
    session_hash: bytes | None = None
    request_key: str | None = None
    not_learnable: NotLearnable | None = None
    degraded: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that a model could not rank, while the line had a canary."""

    decision_id: UUID
    """What the decision would have been called."""
    tenant: str
    line: str
    session_hash: bytes | None
    epoch: int
    version: str
    arm: Arm
    error: str
    """The kind of error, never its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One statement about a decision or one of its documents."""

    id: UUID
    decision_id: UUID
    name: str
    value: float | None
    """None where the statement is an error or text: unobserved, never zero."""
    source: Source
    source_id: str
    occurred_at: datetime
    document: int | None = None
    """Request position, where it speaks of one document."""
    supersedes: UUID | None = None
    retracted: bool = False
    judge: str | None = None
    """Rubric and LLM of an LLM judge's verdict: verdicts of two of them are never mixed."""
    observation: float = 1.0
    """How likely it was that this would be said at all, as a judge that reads a share of the answers knows; else 1."""
    shadow: bool = False
    """Whether it is only to be seen: it is stored and counted, and changes no reward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What the feedback of one decision amounts to under one reward spec."""

    value: float | None
    """In [0, 1]; None when nothing counts (any more)."""
    credits: Mapping[int, float]
    """Utility in [0, 1] by request position, for the documents that somebody spoke of."""
    feedback_count: int
    """Rows of feedback it was derived from, all names counted."""
    observation: float = 1.0
    """How likely it was that there would be such a reward."""
