import hashlib
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from contract import ids, publication
from contract.columns import Xid8
from contract.tables import PARTITIONED, decisions, feedback, rewards

SECRET = b"of nothing"
SHA256 = hashlib.sha256(b"body").digest()
NOW = datetime.now(UTC)

# Two candidates, both shown, explored with epsilon 1/2 at equal logits: the greedy order [0, 1] has
# probability 1/2 + 1/2 * 1/2 = 3/4, and its first position decides the second.
DECISION: dict[str, Any] = {
    "query_text": 1,
    "epoch": 1,
    "version": "v1",
    "precision": "float32",
    "arm": "champion",
    "explored": False,
    "epsilon": 0.5,
    "temperature": 1.0,
    "sampled": 2,
    "candidate_texts": [2, 3],
    "logits": [0.0, 0.0],
    "shown": [0, 1],
    "cum_log_propensity": [math.log(0.75), math.log(0.75)],
}
FEEDBACK: dict[str, Any] = {
    "name": "correct",
    "value_type": "number",
    "num_value": 1.0,
    "source_type": "CODE",
    "source_id": "test",
    "idempotency_key": "once",
    "body_sha256": SHA256,
}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("arm_known", {"arm": "stable"}),
        ("epsilon_share", {"epsilon": 1.5}),
        ("temperature_positive", {"temperature": 0.0}),
        ("temperature_positive", {"temperature": math.nan}),
        ("sampled_range", {"sampled": 3}),
        ("keys_parallel", {"candidate_keys": ["a"]}),
        ("scores_parallel", {"first_stage_scores": [1.0]}),
        ("logits_parallel", {"logits": [0.0]}),
        ("logits_parallel", {"logits": []}),
        ("logits_finite", {"logits": [0.0, math.nan]}),
        ("logits_finite", {"logits": [0.0, -math.inf]}),
        ("shown_range", {"shown": [], "cum_log_propensity": []}),
        ("shown_positions", {"shown": [0, 2]}),
        ("propensity_parallel", {"cum_log_propensity": [0.0]}),
        ("propensity_range", {"cum_log_propensity": [0.0, 0.1]}),
        ("propensity_range", {"cum_log_propensity": [0.0, -math.inf]}),
        ("propensity_range", {"cum_log_propensity": [0.0, math.nan]}),
        ("learnable", {"epsilon": 0.0}),
        ("learnable", {"degraded": True}),
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(
    connection: Connection, rule: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError, match=f"decisions_{rule}"):
        _decide(connection, **changes)


def test_a_degraded_decision_needs_no_logits(connection: Connection) -> None:
    _decide(connection, degraded=True, logits=[], epsilon=0.0, not_learnable="degraded")

    assert _count(connection, decisions) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_feedback_that_is_no_finite_number_is_refused(connection: Connection, value: float) -> None:
    with pytest.raises(IntegrityError, match="feedback_finite"):
        _say(connection, num_value=value)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("said", {"value_type": None, "num_value": None}),
        ("said", {"error": {"reason": "timeout"}}),
        ("typed", {"value_type": "boolean", "num_value": 0.5}),
        ("typed", {"value_type": "string"}),
        ("typed", {"value_type": None, "error": {"reason": "timeout"}}),
        ("source_type_known", {"source_type": "ROBOT"}),
        ("document_position", {"document": -1}),
    ],
)
def test_feedback_says_one_thing_of_a_known_kind(
    connection: Connection, rule: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError, match=f"feedback_{rule}"):
        _say(connection, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"value_type": "boolean", "num_value": 0.0},
        {"value_type": "string", "num_value": None, "str_value": "stale"},
        {"value_type": None, "num_value": None, "error": {"reason": "timeout"}},
        {"value_type": None, "num_value": None, "retracted": True},
    ],
)
def test_feedback_may_be_a_boolean_a_text_an_error_or_a_withdrawal(
    connection: Connection, changes: dict[str, Any]
) -> None:
    _say(connection, **changes)

    assert _count(connection, feedback) == 1


def test_feedback_may_come_before_its_decision(connection: Connection) -> None:
    _say(connection, pending=True)

    assert (_count(connection, feedback), _count(connection, decisions)) == (1, 0)


def test_one_source_says_a_thing_once_and_two_sources_may_share_a_key(
    connection: Connection,
) -> None:
    decision_id = _mint()
    _say(connection, decision_id=decision_id)
    _say(connection, decision_id=decision_id, source_id="another")

    with pytest.raises(IntegrityError, match="idempotency_key"):
        _say(connection, decision_id=decision_id)


@pytest.mark.parametrize("change", ["UPDATE {} SET tenant = 'x'", "DELETE FROM {}"])
@pytest.mark.parametrize("table", [feedback, rewards])
def test_what_was_said_or_derived_is_never_changed(
    connection: Connection, table: Table, change: str
) -> None:
    _say(connection)
    _reward(connection)

    with pytest.raises(DBAPIError) as refused:
        connection.execute(text(change.format(table.name)))
    assert isinstance(publication.refusal_in(refused.value), publication.AppendOnly)


def test_a_row_lies_in_the_partition_of_the_day_inside_its_id(connection: Connection) -> None:
    yesterday, tomorrow = NOW - timedelta(days=1), NOW + timedelta(days=1)
    for at in (yesterday, NOW, tomorrow):
        _decide(connection, decision_id=_mint(at))
    places = connection.scalars(text("SELECT tableoid::regclass::text FROM decisions"))

    assert set(places) == {f"decisions_{at:%Y%m%d}" for at in (yesterday, NOW, tomorrow)}


def test_an_id_of_no_day_that_we_keep_is_refused(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="no partition of relation"):
        _decide(connection, decision_id=_mint(NOW - timedelta(days=400)))


@pytest.mark.parametrize("name", PARTITIONED)
def test_a_lookup_by_id_reads_one_partition(connection: Connection, name: str) -> None:
    statement = text(f"EXPLAIN SELECT * FROM {name} WHERE decision_id = :id")  # noqa: S608 - ours
    plan = "\n".join(connection.scalars(statement, {"id": _mint()}))

    assert set(re.findall(rf"{name}_\d{{8}}", plan)) == {f"{name}_{NOW:%Y%m%d}"}


def test_partitions_reach_a_week_ahead_and_are_made_once(connection: Connection) -> None:
    made = connection.scalar(text("SELECT ensure_partitions(7)"))
    made_for_two_more_days = connection.scalar(text("SELECT ensure_partitions(9)"))

    # The migration made yesterday to seven days ahead of four tables.
    assert (made, made_for_two_more_days) == (0, 2 * 4)


def test_partitions_are_made_beside_an_open_write(engine: Engine) -> None:
    with engine.begin() as writer, engine.begin() as keeper:
        _decide(writer)

        assert keeper.scalar(text("SELECT ensure_partitions(8)")) == 4


def test_the_database_reads_the_time_in_an_id_as_we_do(connection: Connection) -> None:
    decision_id = _mint()
    minted_at = ids.minted_at(decision_id)
    statement = select(
        func.uuid7_time(decision_id),
        func.uuid7_floor(minted_at),
        func.uuid7_floor(minted_at + timedelta(milliseconds=1)),
    )

    time, floor, next_floor = connection.execute(statement).one()

    assert time == minted_at
    assert floor <= decision_id < next_floor


def test_a_row_that_commits_late_is_read_once_where_an_id_cursor_skips_it(engine: Engine) -> None:
    early, late = sorted([_mint(NOW), _mint(NOW + timedelta(milliseconds=5))])
    with engine.connect() as reader, engine.connect() as fast, engine.connect() as slow:
        _reward(slow, decision_id=early)
        _reward(fast, decision_id=late)
        fast.commit()

        first, end = _read(reader, since=0)
        seen = reader.scalars(select(rewards.c.decision_id)).all()
        reader.rollback()
        slow.commit()
        second, _ = _read(reader, since=end)
        by_id = reader.scalars(
            select(rewards.c.decision_id).where(rewards.c.decision_id > max(seen))
        ).all()

    assert seen == [late]
    assert by_id == []
    assert sorted(first + second) == [early, late]


def _read(connection: Connection, *, since: int) -> tuple[list[UUID], int]:
    """What committed from `since` on, below the oldest transaction still open, and where that is."""
    end = func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8())
    found = select(rewards.c.decision_id).where(rewards.c.xid >= since, rewards.c.xid < end)
    statement = select(func.array(found.scalar_subquery()), end)
    read, until = connection.execute(statement).one()
    return list(read), until


def _mint(at: datetime = NOW) -> UUID:
    return ids.mint("default", secret=SECRET, now=at)


def _decide(connection: Connection, **changes: Any) -> None:
    connection.execute(insert(decisions), {"decision_id": _mint()} | DECISION | changes)


def _say(connection: Connection, **changes: Any) -> None:
    row = {"decision_id": _mint(), "feedback_id": _mint()} | FEEDBACK | changes
    connection.execute(insert(feedback), row)


def _reward(connection: Connection, **changes: Any) -> None:
    row = {
        "decision_id": _mint(),
        "spec_id": "answer_quality",
        "spec_version": 1,
        "revision": 1,
        "reward": 1.0,
        "feedback_count": 1,
        "credits": [None, 0.5],
    }
    connection.execute(insert(rewards), row | changes)


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
