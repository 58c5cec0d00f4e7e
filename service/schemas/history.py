"""`GET /v1/decisions/{id}`: everything that is remembered of one decision."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from contract.records import Arm, NotLearnable, Source


class LearningState(StrEnum):
    """Whether a decision was learned from, and why not."""

    NOT_LEARNABLE = "not_learnable"
    """Nothing else could have been shown, or nobody knows how likely it was: `not_learnable` says which."""
    NOT_A_PREFIX = "not_a_prefix"
    """What the app used is not the beginning of what was shown: its propensity is unknown."""
    NOTHING_USED = "nothing_used"
    TEXT_NOT_KEPT = "text_not_kept"
    QUARANTINED = "quarantined"
    """The logged propensities do not follow from the logged logits."""
    WINDOW_OPEN = "window_open"
    """Feedback is still awaited; the reward is derived when the window closes."""
    UNOBSERVED = "unobserved"
    """Nobody said anything that counts as a reward. Unobserved is not zero: nothing is learned."""
    WAITING = "waiting"
    """It has a reward, and waits for a training round."""
    LEARNED = "learned"
    """At least one finished training run read its reward: `runs` names them."""


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Candidate(_Out):
    index: int
    """Its position in the request."""
    id: str | None
    """The app's own id of it."""
    text: str | None
    """Null where texts are not kept."""
    score: float | None
    """The first stage's."""
    logit: float | None
    """The model's, before the temperature."""


class Policy(_Out):
    """The serving rule of that moment: with probability epsilon the best `sampled` candidates were drawn."""

    epsilon: float
    temperature: float
    sampled: int
    max_fall: int | None


class AnswerRecord(_Out):
    used_k: int
    used: list[int]
    """Request positions of what went into the prompt."""
    text: str | None
    citations: list[int] | None
    model: str | None
    prompt_version: str | None
    latency_ms: float | None
    occurred_at: datetime


class FeedbackRecord(_Out):
    id: UUID
    document: int | None
    name: str
    value: bool | float | str | None
    error: dict[str, Any] | None
    source_type: Source
    source_id: str
    supersedes: UUID | None
    retracted: bool
    """A tombstone: it takes back what it supersedes."""
    late: bool
    pending: bool
    """Whether it came before the decision itself had landed."""
    rationale: str | None
    metadata: dict[str, Any]
    judge: dict[str, Any] | None
    occurred_at: datetime
    received_at: datetime


class Reward(_Out):
    """The latest revision."""

    value: float | None
    """In [0, 1]; null when nothing counts any more."""
    spec: str
    revision: int
    feedback_count: int
    credits: list[float | None] | None
    """By request position, null for documents nobody spoke of."""
    closed_at: datetime


class Learning(_Out):
    state: LearningState
    runs: list[UUID]
    """The training runs that read it."""
    window_closes_at: datetime


class DecisionRecord(_Out):
    id: UUID
    line: str
    created_at: datetime
    query: str | None
    candidates: list[Candidate]
    """In request order."""
    shown: list[int]
    """Request positions, best first."""
    propensities: list[float]
    """Probability, under the policy, of showing each prefix of `shown`."""
    explored: bool
    policy: Policy
    version: str
    epoch: int
    precision: str
    arm: Arm
    degraded: bool
    not_learnable: NotLearnable | None
    tags: dict[str, str]
    latency_ms: float | None
    answer: AnswerRecord | None
    feedback: list[FeedbackRecord]
    """In the order in which it was received."""
    reward: Reward | None
    learning: Learning
