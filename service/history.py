"""Looks one decision up again: what was decided, what came of it, and whether anything was learned from it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contract import ids, policy
from contract.rewards import RewardSpec
from contract.tables import (
    answers,
    decisions,
    feedback,
    replays,
    reward_specs,
    rewards,
    training_runs,
)
from service import targets
from service.in_time import in_time
from service.schemas.history import DecisionRecord, LearningState
from service.targets import NotLandedYet
from service.texts import kept_bodies

Row: TypeAlias = Mapping[str, Any]

LOOKS: Final = 40
LOOK_EVERY_S: Final = 0.05
ROUNDING: Final = 1e-6
"""Nats by which a recomputed propensity may differ from the logged one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One tenant's decisions."""

    engine: AsyncEngine
    tenant: str
    secret: bytes

    @in_time
    async def read(self, decision_id: UUID) -> DecisionRecord:
        """Waits a moment for one on its way.  Raises `UnknownDecision`, `DecisionGone`, `NotLandedYet`."""
        for _ in range(LOOKS):
            async with self.engine.connect() as connection:
                decision = await _one(connection, self._decision(decision_id))
                if decision is not None:
                    return await _record(connection, decision)
            targets.must_be_coming(
                decision_id, tenant=self.tenant, secret=self.secret, now=datetime.now(UTC)
            )
            await asyncio.sleep(LOOK_EVERY_S)
        raise NotLandedYet("the decision is not stored yet")

    def _decision(self, decision_id: UUID) -> Select[Any]:
        return select(decisions).where(
            decisions.c.decision_id == decision_id, decisions.c.tenant == self.tenant
        )


async def _record(connection: AsyncConnection, decision: Row) -> DecisionRecord:
    decision_id = decision["decision_id"]
    answer = await _one(connection, select(answers).where(answers.c.decision_id == decision_id))
    revisions = await _all(connection, _revisions(decision_id))
    bodies = await _bodies(connection, decision, answer)
    said = await _all(connection, _said(decision_id))
    runs = [row["run_id"] for row in await _all(connection, _runs(decision))]
    closes_at = ids.minted_at(decision_id) + await _wait(connection)
    latest = revisions[0] if revisions else None
    rewarded = LearningState.LEARNED if runs else LearningState.WAITING
    state = _unusable(decision, answer, bodies) or _unrewarded(latest, closes_at) or rewarded
    return DecisionRecord.model_validate(
        {
            **decision,
            "id": decision_id,
            "created_at": ids.minted_at(decision_id),
            "query": bodies.get(decision["query_text"]),
            "candidates": _candidates(decision, bodies),
            "propensities": np.exp(decision["cum_log_propensity"]).clip(max=1.0).tolist(),
            "policy": {name: decision[name] for name in _POLICY},
            "answer": None if answer is None else _answer(decision, answer, bodies),
            "feedback": [_feedback(row) for row in said],
            "replays": await _all(connection, _replays(decision_id)),
            "reward": None if latest is None else _reward(latest),
            "learning": {"state": state, "runs": runs, "window_closes_at": closes_at},
        }
    )


_POLICY: Final = ("epsilon", "temperature", "sampled", "max_fall")


def _unusable(decision: Row, answer: Row | None, bodies: Mapping[int, str]) -> LearningState | None:
    """Why no reward whatever could be learned from, in the order in which the trainer looks."""
    reasons = {
        LearningState.NOT_LEARNABLE: decision["not_learnable"] is not None,
        LearningState.NOT_A_PREFIX: answer is not None and not _is_prefix(decision, answer),
        LearningState.NOTHING_USED: answer is not None and answer["used_k"] == 0,
        LearningState.TEXT_NOT_KEPT: not bodies.keys()
        >= {decision["query_text"], *decision["candidate_texts"]},
    }
    found = next((state for state, applies in reasons.items() if applies), None)
    if found is None and not _propensities_recompute(decision):
        return LearningState.QUARANTINED
    return found


def _unrewarded(latest: Row | None, closes_at: datetime) -> LearningState | None:
    if latest is not None and latest["reward"] is not None:
        return None
    if datetime.now(UTC) < closes_at:
        return LearningState.WINDOW_OPEN
    return LearningState.UNOBSERVED


def _propensities_recompute(decision: Row) -> bool:
    recomputed = policy.log_propensity(
        np.array(decision["logits"]),
        np.array(decision["shown"]),
        policy.Policy(**{name: decision[name] for name in _POLICY}),
    )
    return np.allclose(recomputed, decision["cum_log_propensity"], rtol=0, atol=ROUNDING)


def _is_prefix(decision: Row, answer: Row) -> bool:
    used = answer["used"]
    return used is None or used == decision["shown"][: len(used)]


def _candidates(decision: Row, bodies: Mapping[int, str]) -> list[Row]:
    n = len(decision["candidate_texts"])
    columns = {
        "id": decision["candidate_keys"] or [None] * n,
        "text": [bodies.get(text_id) for text_id in decision["candidate_texts"]],
        "score": decision["first_stage_scores"] or [None] * n,
        "logit": decision["logits"] or [None] * n,
    }
    return [
        {"index": index, **{name: values[index] for name, values in columns.items()}}
        for index in range(n)
    ]


def _answer(decision: Row, answer: Row, bodies: Mapping[int, str]) -> Row:
    used = answer["used"]
    return {
        **answer,
        "used": decision["shown"][: answer["used_k"]] if used is None else used,
        "text": bodies.get(answer["answer_text"]),
        "reference": bodies.get(answer["reference_text"]),
    }


def _feedback(row: Row) -> Row:
    values = {
        "number": row["num_value"],
        "boolean": bool(row["num_value"]),
        "string": row["str_value"],
        None: None,
    }
    return {**row, "id": row["feedback_id"], "value": values[row["value_type"]]}


def _reward(row: Row) -> Row:
    return {**row, "value": row["reward"], "spec": f"{row['spec_id']}@{row['spec_version']}"}


def _revisions(decision_id: UUID) -> Select[Any]:
    """Newest first."""
    return (
        select(rewards)
        .where(rewards.c.decision_id == decision_id)
        .order_by(rewards.c.closed_at.desc(), rewards.c.revision.desc())
    )


def _said(decision_id: UUID) -> Select[Any]:
    return (
        select(feedback)
        .where(feedback.c.decision_id == decision_id)
        .order_by(feedback.c.received_at, feedback.c.feedback_id)
    )


def _replays(decision_id: UUID) -> Select[Any]:
    return (
        select(replays)
        .where(replays.c.decision_id == decision_id)
        .order_by(replays.c.asked_at, replays.c.replay_id)
    )


def _runs(decision: Row) -> Select[Any]:
    """The finished runs in whose window one of these rewards was written."""
    return (
        select(training_runs.c.run_id)
        .join(
            rewards,
            (rewards.c.xid < training_runs.c.xid_to)
            & (rewards.c.xid >= training_runs.c.xid_from)
            & (rewards.c.spec_id == training_runs.c.spec_id)
            & (rewards.c.spec_version == training_runs.c.spec_version),
        )
        .where(
            rewards.c.decision_id == decision["decision_id"],
            rewards.c.reward.is_not(None),
            training_runs.c.line == decision["line"],
            training_runs.c.status.in_(["promoted", "canary", "rejected"]),
        )
        .group_by(training_runs.c.run_id, training_runs.c.started_at)
        .order_by(training_runs.c.started_at)
    )


async def _wait(connection: AsyncConnection) -> timedelta:
    """How long the newest reward spec waits for feedback."""
    newest = reward_specs.c.definition.op("->>")("wait_s")
    statement = select(newest).order_by(reward_specs.c.created_at.desc()).limit(1)
    found = await connection.scalar(statement)
    return timedelta(seconds=RewardSpec().wait_s if found is None else float(found))


async def _bodies(
    connection: AsyncConnection, decision: Row, answer: Row | None
) -> Mapping[int, str]:
    """The texts that are kept."""
    wanted = {decision["query_text"], *decision["candidate_texts"]}
    if answer is not None:
        wanted |= {answer["answer_text"], answer["reference_text"]}
    return await kept_bodies(connection, wanted)


async def _one(connection: AsyncConnection, statement: Select[Any]) -> Row | None:
    rows = await _all(connection, statement)
    return rows[0] if rows else None


async def _all(connection: AsyncConnection, statement: Select[Any]) -> list[Row]:
    return [dict(row) for row in (await connection.execute(statement)).mappings()]
