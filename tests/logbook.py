"""Writes decisions, answers, feedback and rewards as the service and the trainer would, for tests that read them."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from contract import ids, policy
from contract.policy import Policy
from contract.tables import answers, decisions, feedback, rewards, texts

SECRET = b"a secret for tests"
POLICY = Policy(epsilon=0.5, temperature=1.0)


def decision(
    connection: Connection,
    *,
    query: str,
    documents: Sequence[str],
    logits: Sequence[float],
    rng: np.random.Generator,
    top_n: int | None = None,
    ago_s: float = 3600.0,
    rule: Policy = POLICY,
    **columns: Any,
) -> UUID:
    """One answered request, ranked by its rule; `columns` overwrite what would be stored."""
    decision_id = ids.mint(
        "default", secret=SECRET, now=datetime.now(UTC) - timedelta(seconds=ago_s)
    )
    scores = np.array(logits, dtype=np.float64)
    choice = policy.choose(scores, rule, rng, top_n=top_n or len(documents))
    query_text, *candidate_texts = _texts(connection, [query, *documents])
    row = {
        "decision_id": decision_id,
        "query_text": query_text,
        "epoch": 1,
        "version": "base",
        "precision": "float32",
        "arm": "champion",
        "explored": choice.explored,
        "epsilon": rule.epsilon,
        "temperature": rule.temperature,
        "sampled": min(rule.sampled, len(documents)),
        "max_fall": rule.max_fall,
        "candidate_texts": candidate_texts,
        "logits": scores.tolist(),
        "shown": choice.shown.tolist(),
        "cum_log_propensity": choice.cum_log_propensity.tolist(),
    }
    connection.execute(insert(decisions).values(row | columns))
    return decision_id


def shown(connection: Connection, decision_id: UUID) -> list[int]:
    statement = select(decisions.c.shown).where(decisions.c.decision_id == decision_id)
    return list(connection.execute(statement).scalar_one())


def answer(connection: Connection, decision_id: UUID, **columns: Any) -> None:
    row = {"decision_id": decision_id, "body_sha256": bytes(32)}
    connection.execute(insert(answers).values(row | columns))


def said(connection: Connection, decision_id: UUID, value: float | None, **columns: Any) -> UUID:
    """One row of feedback; None is a judge's error."""
    feedback_id = uuid4()
    row = {
        "decision_id": decision_id,
        "feedback_id": feedback_id,
        "name": "reward",
        "value_type": None if value is None else "number",
        "num_value": value,
        "error": {"message": "no verdict"} if value is None else None,
        "source_type": "CODE",
        "source_id": "test",
        "idempotency_key": uuid4().hex,
        "body_sha256": bytes(32),
    } | columns
    connection.execute(insert(feedback).values(row))
    return feedback_id


def rewarded(
    connection: Connection, decision_id: UUID, value: float | None, **columns: Any
) -> None:
    """A revision, as if it had been derived."""
    row = {
        "decision_id": decision_id,
        "spec_id": "answer_quality",
        "spec_version": 1,
        "revision": 1,
        "reward": value,
        "feedback_count": 1,
    }
    connection.execute(insert(rewards).values(row | columns))


def _texts(connection: Connection, bodies: Sequence[str]) -> list[int]:
    """Their ids, in their order; known texts keep theirs."""
    rows = {
        hashlib.sha256(body.encode()).digest(): {"body": body, "n_chars": len(body)}
        for body in bodies
    }
    new = upsert(texts).values([{"sha256": sha256} | row for sha256, row in rows.items()])
    found = connection.execute(
        new.on_conflict_do_update(
            constraint="texts_tenant_sha256_key", set_={"sha256": new.excluded.sha256}
        ).returning(texts.c.sha256, texts.c.text_id)
    )
    ids = {row.sha256: row.text_id for row in found}
    return [ids[hashlib.sha256(body.encode()).digest()] for body in bodies]
