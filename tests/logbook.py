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


def decision(connection: Connection, **values: Any) -> UUID:
    """One answered request: as `decision_row`."""
    (decision_id,) = write_decisions(connection, [decision_row(**values)])
    return decision_id


def decision_row(
    *,
    query: str,
    documents: Sequence[str],
    logits: Sequence[float],
    rng: np.random.Generator,
    top_n: int | None = None,
    ago_s: float = 3600.0,
    rule: Policy = POLICY,
    **columns: Any,
) -> dict[str, Any]:
    """One answered request, ranked by its rule, with texts for their ids; `columns` overwrite what would be stored."""
    scores = np.array(logits, dtype=np.float64)
    choice = policy.choose(scores, rule, rng, top_n=top_n or len(documents))
    decided_at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return {
        "decision_id": ids.mint("default", secret=SECRET, now=decided_at),
        "query_text": query,
        "epoch": 1,
        "version": "base",
        "precision": "float32",
        "arm": "champion",
        "explored": choice.explored,
        "epsilon": rule.epsilon,
        "temperature": rule.temperature,
        "sampled": min(rule.sampled, len(documents)),
        "max_fall": rule.max_fall,
        "candidate_texts": list(documents),
        "logits": scores.tolist(),
        "shown": choice.shown.tolist(),
        "cum_log_propensity": choice.cum_log_propensity.tolist(),
    } | columns


def write_decisions(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[UUID]:
    """Many at once: a round learns from hundreds."""
    bodies = {text for row in rows for text in (row["query_text"], *row["candidate_texts"])}
    text_ids = _text_ids(connection, sorted(bodies))
    numbered = [
        row
        | {
            "query_text": text_ids[row["query_text"]],
            "candidate_texts": [text_ids[text] for text in row["candidate_texts"]],
        }
        for row in rows
    ]
    connection.execute(insert(decisions), numbered)
    return [row["decision_id"] for row in rows]


def shown(connection: Connection, decision_id: UUID) -> list[int]:
    statement = select(decisions.c.shown).where(decisions.c.decision_id == decision_id)
    return list(connection.execute(statement).scalar_one())


def answer(connection: Connection, decision_id: UUID, **columns: Any) -> None:
    connection.execute(insert(answers).values(answer_row(decision_id, **columns)))


def answer_row(decision_id: UUID, **columns: Any) -> dict[str, Any]:
    return {"decision_id": decision_id, "body_sha256": bytes(32)} | columns


def said(connection: Connection, decision_id: UUID, value: float | None, **columns: Any) -> UUID:
    """One row of feedback; None is a judge's error."""
    row = said_row(decision_id, value, **columns)
    connection.execute(insert(feedback).values(row))
    feedback_id: UUID = row["feedback_id"]
    return feedback_id


def said_row(decision_id: UUID, value: float | None, **columns: Any) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "feedback_id": uuid4(),
        "name": "reward",
        "value_type": None if value is None else "number",
        "num_value": value,
        "error": {"message": "no verdict"} if value is None else None,
        "source_type": "CODE",
        "source_id": "test",
        "idempotency_key": uuid4().hex,
        "body_sha256": bytes(32),
    } | columns


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


def _text_ids(connection: Connection, bodies: Sequence[str]) -> dict[str, int]:
    """By body; known texts keep theirs."""
    sha256 = {body: hashlib.sha256(body.encode()).digest() for body in bodies}
    new = upsert(texts)
    found = connection.execute(
        new.on_conflict_do_update(
            constraint="texts_tenant_sha256_key", set_={"sha256": new.excluded.sha256}
        ).returning(texts.c.sha256, texts.c.text_id),
        [{"sha256": sha256[body], "body": body, "n_chars": len(body)} for body in bodies],
    )
    text_ids = {row.sha256: row.text_id for row in found}
    return {body: text_ids[sha256[body]] for body in bodies}
