from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import func, select

from contract.rewards import RewardSpec
from contract.tables import reward_specs
from contract.tables import rewards as table
from tests import logbook
from trainer import rewards

SPEC = RewardSpec(wait_s=60.0, reopen_s=7_200.0)


@pytest.fixture
def decided(engine):
    """Makes decisions of a given age."""
    rng = np.random.default_rng(0)

    def decide(ago_s=600.0, **columns):
        with engine.begin() as connection:
            return logbook.decision(
                connection,
                query="why",
                documents=["a", "b"],
                logits=[1.0, 0.0],
                rng=rng,
                ago_s=ago_s,
                **columns,
            )

    return decide


def say(engine, decision_id, value, **columns):
    with engine.begin() as connection:
        return logbook.said(connection, decision_id, value, **columns)


def derive(engine, now=None, spec=SPEC):
    with engine.begin() as connection:
        return rewards.derive(connection, spec, line="default", now=now or datetime.now(UTC))


def revisions(engine):
    statement = select(table.c.reward).order_by(table.c.decision_id, table.c.revision)
    with engine.connect() as connection:
        return list(connection.execute(statement).scalars())


def test_what_was_said_becomes_a_reward_once(engine, decided):
    say(engine, decided(), 0.8)

    assert (derive(engine), derive(engine)) == (1, 0)
    assert revisions(engine) == [0.8]


def test_a_decision_nobody_judged_has_no_reward(engine, decided):
    decided()

    assert derive(engine) == 0


def test_a_decision_waits_until_its_window_is_closed(engine, decided):
    say(engine, decided(ago_s=30.0), 1.0)

    assert derive(engine) == 0
    assert derive(engine, now=datetime.now(UTC) + timedelta(seconds=60)) == 1


def test_later_feedback_is_a_new_revision(engine, decided):
    decision_id = decided()
    first = say(engine, decision_id, 1.0)
    derive(engine)
    say(engine, decision_id, 0.25, supersedes=first)

    assert derive(engine) == 1
    assert revisions(engine) == [1.0, 0.25]


def test_a_retraction_withdraws_the_reward(engine, decided):
    decision_id = decided()
    first = say(engine, decision_id, 1.0)
    derive(engine)
    say(engine, decision_id, None, supersedes=first, retracted=True, error=None)
    derive(engine)

    assert revisions(engine) == [1.0, None]


def test_a_judge_that_failed_said_nothing(engine, decided):
    say(engine, decided(), None)

    assert derive(engine) == 1
    assert revisions(engine) == [None]


def test_what_is_said_too_late_changes_nothing(engine, decided):
    say(engine, decided(ago_s=7_300.0), 1.0)

    assert derive(engine) == 0


def test_feedback_that_commits_late_is_not_missed(engine, decided):
    slow_one, quick_one = decided(), decided()
    with engine.connect() as slow:
        logbook.said(slow, slow_one, 0.0)  # written first, committed last
        say(engine, quick_one, 1.0)
        derive(engine)
        slow.commit()

    derive(engine)

    assert sorted(revisions(engine)) == [0.0, 1.0]


def test_feedback_before_its_decision_waits_for_it(engine, decided):
    decision_id = decided(line="another")
    say(engine, decision_id, 1.0)

    assert derive(engine) == 0


def test_credit_is_kept_by_request_position(engine, decided):
    decision_id = decided()
    say(engine, decision_id, 0.9, name="relevance", document=1)
    derive(engine)

    with engine.connect() as connection:
        row = connection.execute(select(table.c.reward, table.c.credits)).one()
    assert tuple(row) == (None, [None, 0.9])


def test_the_same_spec_is_registered_once_and_another_is_another_version(engine):
    with engine.begin() as connection:
        first = rewards.registered(connection, SPEC)
        again = rewards.registered(connection, SPEC)
        other = rewards.registered(connection, replace(SPEC, combine="mean"))
        count = connection.execute(select(func.count()).select_from(reward_specs)).scalar_one()

    assert (first.version, again.version, other.version, count) == (1, 1, 2, 2)


def test_how_likely_a_reward_was_is_what_the_judge_says(engine, decided):
    judged, thumbed = decided(), decided()
    verdict = {"rubric": {"id": "quality", "version": "1"}, "sampling_probability": 0.25}
    say(engine, judged, 0.5, name="quality", source_type="LLM_JUDGE", judge=verdict)
    say(engine, thumbed, 1.0, name="thumb", source_type="END_USER")

    derive(engine)

    statement = select(table.c.observation).order_by(table.c.decision_id)
    with engine.connect() as connection:
        assert list(connection.execute(statement).scalars()) == [0.25, 1.0]


def test_a_verdict_that_is_flagged_as_shadow_is_counted_and_is_no_reward(engine, decided):
    both, alone = decided(), decided()
    rubric = {"rubric": {"id": "quality", "version": "1"}}
    shadow = {"rubric": {"id": "quality", "version": "2"}, "flags": ["slow", "shadow"]}
    for decision_id, value, judge in (
        (both, 0.5, rubric),
        (both, 1.0, shadow),
        (alone, 1.0, shadow),
    ):
        say(engine, decision_id, value, name="quality", source_type="LLM_JUDGE", judge=judge)

    derive(engine)

    statement = select(table.c.reward, table.c.feedback_count).order_by(table.c.decision_id)
    with engine.connect() as connection:
        assert list(map(tuple, connection.execute(statement))) == [(0.5, 2), (None, 1)]
