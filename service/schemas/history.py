"""`GET /v1/decisions/{id}`: everything that is remembered of one decision."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from contract.records import Arm, NotLearnable, Source
from contract.replays import Purpose
from service.schemas.strict import Out


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


class Candidate(Out):
    """One document of the request."""

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


class Policy(Out):
    """The serving rule of that moment: with probability epsilon the best `sampled` candidates were drawn."""

    epsilon: float
    """How likely it was that the request explored."""
    temperature: float
    """Of the draw: near 0 it always finds the best order."""
    sampled: int
    """How many of the best took part in the draw."""
    max_fall: int | None
    """How many ranks a document could lose; null does not bound it."""


class AnswerRecord(Out):
    """What the LLM did with the documents."""

    used_k: int
    """How many documents went into the prompt."""
    used: list[int]
    """Request positions of what went into the prompt."""
    text: str | None
    """What the LLM answered; null where texts are not kept."""
    reference: str | None
    """The right answer; null where nobody knows it, or texts are not kept."""
    citations: list[int] | None
    """Request positions of what the answer cites."""
    model: str | None
    """The LLM."""
    prompt_version: str | None
    """Of the app's prompt."""
    latency_ms: float | None
    """How long the LLM took."""
    occurred_at: datetime
    """When it answered."""


class FeedbackRecord(Out):
    """One statement."""

    id: UUID
    """By which it can be corrected or taken back."""
    document: int | None
    """The request position of the document that it speaks of; null for the decision as a whole."""
    name: str
    """What is stated."""
    value: bool | float | str | None
    """What was found."""
    error: dict[str, Any] | None
    """Why nothing was found."""
    source_type: Source
    """What kind of speaker it is."""
    source_id: str
    """Which of them."""
    supersedes: UUID | None
    """The feedback that this one corrects or takes back."""
    retracted: bool
    """A tombstone: it takes back what it supersedes."""
    late: bool
    """Whether the reward had been derived before it came."""
    pending: bool
    """Whether it came before the decision itself had landed."""
    rationale: str | None
    """Why, in words."""
    metadata: dict[str, Any]
    """Anything else."""
    judge: dict[str, Any] | None
    """How a judge came to it."""
    occurred_at: datetime
    """When it was found."""
    received_at: datetime
    """When we heard of it."""


class ReplayRecord(Out):
    """An answer that was asked to be made again."""

    purpose: Purpose
    """Why."""
    used: list[int]
    """Request positions of what the LLM reads for it."""
    against: list[int] | None
    """Those of the answer that it is compared with; null where it is judged alone."""
    value: float | None
    """What it is worth, in [0, 1]; null while it is not done, or where there is an error."""
    error: str | None
    """Why there is no value, or why the last attempt was given back."""
    judge: dict[str, Any] | None
    """How a judge came to it."""
    asked_at: datetime
    """When it was asked for."""
    done_at: datetime | None
    """When it was told what came of it; null while it waits."""


class Reward(Out):
    """The latest revision."""

    value: float | None
    """In [0, 1]; null when nothing counts any more."""
    spec: str
    """The rule by which it was derived, with its version."""
    revision: int
    """Late feedback makes another one."""
    feedback_count: int
    """How many statements it rests on."""
    credits: list[float | None] | None
    """By request position, null for documents nobody spoke of."""
    closed_at: datetime
    """When it was derived."""


class Learning(Out):
    """What became of the decision in training."""

    state: LearningState
    """Whether it was learned from, and why not."""
    runs: list[UUID]
    """The training runs that read it."""
    window_closes_at: datetime
    """Until when feedback is awaited."""


class DecisionRecord(Out):
    """Everything that is remembered of one decision."""

    id: UUID
    """The decision."""
    line: str
    """The line that answered."""
    created_at: datetime
    """When it was made."""
    query: str | None
    """What was asked; null where texts are not kept."""
    candidates: list[Candidate]
    """In request order."""
    shown: list[int]
    """Request positions, best first."""
    propensities: list[float]
    """Probability, under the policy, of showing each prefix of `shown`."""
    explored: bool
    """Whether the order was drawn instead of the best one."""
    policy: Policy
    """The rule that it followed."""
    version: str
    """The model that scored."""
    epoch: int
    """Of the line, at that moment."""
    precision: str
    """In which the model ran."""
    arm: Arm
    """Which of the models answered."""
    degraded: bool
    """Whether something that it can do without was missing."""
    not_learnable: NotLearnable | None
    """Why it never trains."""
    tags: dict[str, str]
    """As they came with the request."""
    latency_ms: float | None
    """How long the request took."""
    answer: AnswerRecord | None
    """What the LLM did with the documents."""
    feedback: list[FeedbackRecord]
    """In the order in which it was received."""
    replays: list[ReplayRecord]
    """Answers that were asked to be made again, in the order in which they were."""
    reward: Reward | None
    """What was made of the feedback; null before the window closes."""
    learning: Learning
    """What became of it in training."""
