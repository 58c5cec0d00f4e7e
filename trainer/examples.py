"""One decision as a round learns from it: what the database holds of it, checked, or the reason to leave it out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import numpy as np

from contract import policy as serving
from contract.plackett_luce import Positions
from contract.policy import Choice, Policy
from contract.records import Arm, Candidate, Decision, Feedback, Source
from contract.replays import Purpose

ROUNDING: Final = 1e-6
"""Nats by which a recomputed propensity may differ from the logged one."""
MAX_WEIGHT: Final = 5.0
"""However unlikely a reward was to be observed."""


class Skipped(StrEnum):
    """Why a rewarded decision is not learned from."""

    WITHDRAWN = "withdrawn"
    NO_DECISION = "no_decision"
    NOT_LEARNABLE = "not_learnable"
    NOT_A_PREFIX = "not_a_prefix"
    NOTHING_USED = "nothing_used"
    TEXT_MISSING = "text_missing"
    QUARANTINED = "quarantined"
    SILENCED = "source_quarantined"
    SUSPECTED = "source_suspected"
    OVER_SOURCE_SHARE = "over_source_share"
    OVER_TENANT_SHARE = "over_tenant_share"
    READER_GONE = "reader_gone"


class Origin(NamedTuple):
    """Who a reward came from: tenants do not share their sources."""

    tenant: str
    type: Source
    id: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.type}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A decision's answer, made again."""

    purpose: Purpose
    used: tuple[int, ...]
    """Request positions, in the order in which the LLM read them."""
    value: float
    """What it was worth, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One decision that can be learned from."""

    decision: Decision
    used: int
    """k: how many of the shown went into the prompt; at least 1."""
    reward: float
    credits: Mapping[int, float]
    """Utility by request position, for the documents that somebody spoke of."""
    cited: frozenset[int]
    """Request positions that the answer cites."""
    query_sha256: bytes
    fresh: bool
    """Whether it was first rewarded in the window, and is not only replayed: true in one window alone."""
    weight: float = 1.0
    """How many decisions it stands for: 1 / P(its reward is observed), `MAX_WEIGHT` at most."""
    reader: str | None = None
    """The language model that answered, as the app calls it."""
    origins: frozenset[Origin] = frozenset()
    """Whose statements count in its reward and its credits."""
    reference: float | None = None
    """What the answer was worth when it was made again from the base's order."""

    @property
    def reach(self) -> int:
        """How many of the used documents made the answer: down to the last that it cites, all if it cites none."""
        used = self.decision.choice.shown[: self.used].tolist()
        cited = [place for place, position in enumerate(used, 1) if position in self.cited]
        return max(cited, default=self.used)

    @property
    def prefix(self) -> Positions:
        """Request positions of the documents that made the answer, as they were shown."""
        return self.decision.choice.shown[: self.reach]

    @property
    def log_propensity(self) -> float:
        """Nats, of that prefix, under the mixture that showed it."""
        return float(self.decision.choice.cum_log_propensity[self.reach - 1])

    @property
    def log_sampled(self) -> float:
        """Nats, of that prefix, under the Plackett-Luce part of the mixture alone."""
        decision = self.decision
        sampled = serving.log_prob_sampled(decision.logits, self.prefix, decision.policy)
        return float(sampled[-1])


def example(
    row: Mapping[str, Any] | None,
    reward: Mapping[str, Any],
    heard: Iterable[Feedback] = (),
    again: Sequence[Replayed] = (),
    *,
    xid_from: int,
) -> Example | Skipped:
    """From a row of `decisions` with its answer and texts, the last revision of its reward, and what counts in it.

    again: its answer, as it was made again.
    """
    if reward["reward"] is None:
        return Skipped.WITHDRAWN
    if row is None:
        return Skipped.NO_DECISION
    reason = _unusable(row)
    if reason is not None:
        return reason
    decision = _decision(row)
    if not propensities_recompute(decision):
        return Skipped.QUARANTINED
    said = {
        position: value
        for position, value in enumerate(reward["credits"] or ())
        if value is not None
    }
    used = _used(row)
    return Example(
        decision=decision,
        used=used,
        reward=reward["reward"],
        credits=said
        if len(said) > 1
        else _missed(decision.choice.shown[:used].tolist(), again) or said,
        cited=frozenset(row["citations"] or ()),
        query_sha256=row["query_sha256"],
        fresh=reward["first_rewarded"] >= xid_from,
        weight=observed_weight(reward["observation"] or 1.0),
        reader=row["reader"],
        origins=frozenset(Origin(row["tenant"], each.source, each.source_id) for each in heard),
        reference=next((each.value for each in again if each.purpose is Purpose.REFERENCE), None),
    )


def _missed(used: list[int], again: Sequence[Replayed]) -> dict[int, float]:
    """By request position of a document, 1 less what the answer was worth without it.

    The loss of worth would be that with the reward in place of the 1, which is the same for all documents of a list;
    credits are centred within it.
    """
    without = {(*used[:place], *used[place + 1 :]): position for place, position in enumerate(used)}
    return {
        without[each.used]: 1 - each.value
        for each in again
        if each.purpose is Purpose.LEAVE_ONE_OUT and each.used in without
    }


def observed_weight(observation: float) -> float:
    """1 / P(observed), at most `MAX_WEIGHT`."""
    return min(1 / observation, MAX_WEIGHT)


def _unusable(row: Mapping[str, Any]) -> Skipped | None:
    bodies = row["documents"] or []
    reasons = {
        Skipped.NOT_LEARNABLE: row["not_learnable"] is not None,
        Skipped.NOT_A_PREFIX: row["used"] is not None
        and list(row["used"]) != list(row["shown"])[: len(row["used"])],
        Skipped.NOTHING_USED: _used(row) == 0,
        Skipped.TEXT_MISSING: row["query"] is None
        or None in bodies
        or len(bodies) != len(row["candidate_texts"]),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _used(row: Mapping[str, Any]) -> int:
    """What the app reported, else all that was shown."""
    shown = len(row["shown"])
    return shown if row["used_k"] is None else min(int(row["used_k"]), shown)


def _decision(row: Mapping[str, Any]) -> Decision:
    """Its texts are the parts that were scored."""
    n = len(row["candidate_texts"])
    keys = row["candidate_keys"] or [None] * n
    scores = row["first_stage_scores"] or [None] * n
    starts, ends = row["span_starts"] or [None] * n, row["span_ends"] or [None] * n
    return Decision(
        id=row["decision_id"],
        tenant=row["tenant"],
        line=row["line"],
        query=row["query"],
        candidates=tuple(
            Candidate(text=text[start:end], key=key, score=score)
            for text, key, score, start, end in zip(
                row["documents"], keys, scores, starts, ends, strict=True
            )
        ),
        logits=np.array(row["logits"], dtype=np.float64),
        policy=Policy(
            epsilon=row["epsilon"],
            temperature=row["temperature"],
            sampled=row["sampled"],
            max_fall=row["max_fall"],
        ),
        choice=Choice(
            shown=np.array(row["shown"], dtype=np.int64),
            cum_log_propensity=np.array(row["cum_log_propensity"], dtype=np.float64),
            explored=row["explored"],
        ),
        version=row["version"],
        epoch=row["epoch"],
        precision=row["precision"],
        arm=Arm(row["arm"]),
    )


def propensities_recompute(decision: Decision) -> bool:
    """Whether the logged propensities follow from the logged logits."""
    choice = decision.choice
    recomputed = serving.log_propensity(decision.logits, choice.shown, decision.policy)
    return bool(np.allclose(recomputed, choice.cum_log_propensity, rtol=0, atol=ROUNDING))
