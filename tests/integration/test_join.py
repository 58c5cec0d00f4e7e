from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from contract import ids, quarantine
from contract.records import NotLearnable, Source
from contract.rewards import RewardSpec
from tests import logbook
from trainer import join
from trainer.examples import Origin, Skipped
from trainer.join import PropensitiesWrong, Window

SPEC = RewardSpec()
DOCUMENTS = ["a", "b", "c"]
LOGITS = [0.5, 1.5, -1.0]


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def decided(connection, rng, *, query="why", **columns):
    return logbook.decision(
        connection, query=query, documents=DOCUMENTS, logits=LOGITS, rng=rng, **columns
    )


def arrived(connection, since=0):
    return join.arrived(connection, line="default", spec=SPEC, since=since, version="base")


def closed(connection, xid_from=0):
    """A window that closes now."""
    xid_to = arrived(connection, xid_from).xid_to
    return Window.of("default", SPEC, xid_from=xid_from, xid_to=xid_to)


def read(connection, of, limit=100):
    return join.read(connection, of, limit=limit)


def test_a_rewarded_decision_arrives_with_what_was_shown_used_and_said(engine, rng):
    with engine.begin() as connection:
        decision_id = decided(connection, rng, first_stage_scores=[3.0, None, 1.0])
        logbook.answer(connection, decision_id, used_k=2)
        logbook.rewarded(connection, decision_id, 0.75, credits=[None, 0.9, 0.1])

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    (example,) = joined.examples
    assert example.decision.id == decision_id
    assert example.decision.query == "why"
    assert [each.text for each in example.decision.candidates] == DOCUMENTS
    assert [each.score for each in example.decision.candidates] == [3.0, None, 1.0]
    assert example.decision.logits.tolist() == LOGITS
    assert example.decision.policy == replace(logbook.POLICY, sampled=3)
    assert (example.used, example.reward) == (2, 0.75)
    assert example.credits == {1: 0.9, 2: 0.1}
    assert example.fresh


def test_without_an_answer_all_that_was_shown_counts_as_used(engine, rng):
    with engine.begin() as connection:
        logbook.rewarded(connection, decided(connection, rng, top_n=2), 1.0)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert [example.used for example in joined.examples] == [2]


def test_the_same_document_twice_stays_twice_and_in_order(engine, rng):
    with engine.begin() as connection:
        twice = logbook.decision(
            connection, query="q", documents=["b", "a", "b"], logits=LOGITS, rng=rng
        )
        logbook.rewarded(connection, twice, 1.0)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert [each.text for each in joined.examples[0].decision.candidates] == ["b", "a", "b"]


def test_what_cannot_be_learned_from_is_counted_by_reason(engine, rng):
    with engine.begin() as connection:
        never = NotLearnable.EXPLORE_NEVER.value
        logbook.rewarded(connection, decided(connection, rng, not_learnable=never), 1.0)
        withdrawn = decided(connection, rng)
        logbook.rewarded(connection, withdrawn, 1.0)
        logbook.rewarded(connection, withdrawn, None, revision=2)
        picked = decided(connection, rng)
        backwards = logbook.shown(connection, picked)[::-1]
        logbook.answer(connection, picked, used_k=3, used=backwards)
        logbook.rewarded(connection, picked, 1.0)
        unused = decided(connection, rng)
        logbook.answer(connection, unused, used_k=0)
        logbook.rewarded(connection, unused, 1.0)
        logbook.rewarded(connection, decided(connection, rng, query="erased"), 1.0)
        connection.execute(text("UPDATE texts SET body = NULL WHERE body = 'erased'"))
        unknown = ids.mint("default", secret=b"another", now=datetime.now(UTC))
        logbook.rewarded(connection, unknown, 1.0)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert joined.examples == ()
    assert joined.skipped == {
        Skipped.NOT_LEARNABLE: 1,
        Skipped.WITHDRAWN: 1,
        Skipped.NOT_A_PREFIX: 1,
        Skipped.NOTHING_USED: 1,
        Skipped.TEXT_MISSING: 1,
        Skipped.NO_DECISION: 1,
    }


def test_a_reported_prefix_may_be_spelt_out(engine, rng):
    with engine.begin() as connection:
        picked = decided(connection, rng)
        prefix = logbook.shown(connection, picked)[:2]
        logbook.answer(connection, picked, used_k=2, used=prefix)
        logbook.rewarded(connection, picked, 1.0)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert [example.used for example in joined.examples] == [2]


def test_a_propensity_that_does_not_recompute_is_quarantined(engine, rng):
    with engine.begin() as connection:
        for _ in range(100):
            logbook.rewarded(connection, decided(connection, rng), 1.0)
        wrong = decided(connection, rng, cum_log_propensity=[-9.0, -9.5, -9.5])
        logbook.rewarded(connection, wrong, 1.0)

    with engine.connect() as connection:
        joined = read(connection, closed(connection), limit=1_000)

    assert joined.skipped == {Skipped.QUARANTINED: 1}
    assert wrong not in {example.decision.id for example in joined.examples}


def test_more_than_one_percent_of_wrong_propensities_stops_the_run(engine, rng):
    with engine.begin() as connection:
        for _ in range(90):
            logbook.rewarded(connection, decided(connection, rng), 1.0)
        wrong = decided(connection, rng, cum_log_propensity=[-9.0, -9.5, -9.5])
        logbook.rewarded(connection, wrong, 1.0)

    with engine.connect() as connection, pytest.raises(PropensitiesWrong):
        read(connection, closed(connection), limit=1_000)


def test_a_row_that_commits_late_is_not_skipped(engine, rng):
    with engine.begin() as connection:
        late, early = (decided(connection, rng, query=query) for query in ("late", "early"))

    with engine.connect() as slow, engine.connect() as quick:
        logbook.rewarded(slow, late, 1.0)  # has its transaction id, and does not commit yet
        logbook.rewarded(quick, early, 1.0)
        quick.commit()

        first = closed(quick)
        read_first = read(quick, first)
        quick.commit()
        slow.commit()
        second = closed(quick, first.xid_to)
        read_second = read(quick, second)

    # The window closes below the open transaction: what committed after it waits for the next one.
    assert [each.decision.query for each in read_first.examples] == []
    assert {each.decision.query for each in read_second.examples} == {"late", "early"}
    assert all(each.fresh for each in read_second.examples)


def test_a_long_transaction_shows_as_lag(engine, rng):
    with engine.begin() as connection:
        slow_one, *others = (decided(connection, rng) for _ in range(4))

    with engine.connect() as slow, engine.connect() as quick:
        logbook.rewarded(slow, slow_one, 1.0)
        for decision_id in others:
            logbook.rewarded(quick, decision_id, 1.0)
            quick.commit()

        held_up = arrived(quick)

    assert held_up.decisions == 0
    assert held_up.lag >= 4


def test_every_decision_is_fresh_in_exactly_one_window(engine, rng):
    seen: list[str] = []
    end = 0
    for number in range(4):
        with engine.begin() as connection:
            logbook.rewarded(connection, decided(connection, rng, query=f"{number}"), 1.0)
        with engine.connect() as connection:
            now = closed(connection, end)
            assert arrived(connection, end).decisions == 1
            seen += [each.decision.query for each in read(connection, now).examples if each.fresh]
            end = now.xid_to

    assert seen == ["0", "1", "2", "3"]


def test_a_revised_reward_is_replayed_and_not_new_again(engine, rng):
    with engine.begin() as connection:
        decision_id = decided(connection, rng)
        logbook.rewarded(connection, decision_id, 1.0)
    with engine.connect() as connection:
        first = closed(connection)
    with engine.begin() as connection:
        logbook.rewarded(connection, decision_id, 0.25, revision=2)

    with engine.connect() as connection:
        second = closed(connection, first.xid_to)
        before, after = read(connection, first), read(connection, second)
        new = arrived(connection, first.xid_to).decisions

    assert [(each.reward, each.fresh) for each in before.examples] == [(1.0, True)]
    assert [(each.reward, each.fresh) for each in after.examples] == [(0.25, False)]
    assert new == 0


def test_a_closed_window_reads_the_same_for_ever(engine, rng):
    with engine.begin() as connection:
        decision_id = decided(connection, rng)
        logbook.rewarded(connection, decision_id, 1.0)
    with engine.connect() as connection:
        then = closed(connection)
        before = read(connection, then)
    with engine.begin() as connection:
        logbook.rewarded(connection, decision_id, 0.0, revision=2)
        logbook.rewarded(connection, decided(connection, rng), 1.0)

    with engine.connect() as connection:
        after = read(connection, then)

    assert [each.reward for each in after.examples] == [each.reward for each in before.examples]


def test_only_the_newest_are_looked_back_on_oldest_first(engine, rng):
    with engine.begin() as connection:
        for ago in (300.0, 200.0, 100.0):
            logbook.rewarded(connection, decided(connection, rng, query=f"{ago}", ago_s=ago), 1.0)

    with engine.connect() as connection:
        joined = read(connection, closed(connection), limit=2)

    assert [each.decision.query for each in joined.examples] == ["200.0", "100.0"]


def test_other_lines_and_specs_are_not_ours(engine, rng):
    with engine.begin() as connection:
        logbook.rewarded(connection, decided(connection, rng), 1.0, line="another")
        logbook.rewarded(connection, decided(connection, rng), 1.0, spec_version=2)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert joined.examples == ()


@pytest.mark.parametrize(
    ("observation", "weight"), [(None, 1.0), (1.0, 1.0), (0.25, 4.0), (0.01, 5.0)]
)
def test_a_seldom_observed_reward_stands_for_others_up_to_five(engine, rng, observation, weight):
    with engine.begin() as connection:
        logbook.rewarded(connection, decided(connection, rng), 1.0, observation=observation)

    with engine.connect() as connection:
        (example,) = read(connection, closed(connection)).examples

    assert example.weight == weight


def test_an_example_knows_whose_statements_count_in_it(engine, rng):
    with engine.begin() as connection:
        decision_id = decided(connection, rng, tenant="acme")
        logbook.said(connection, decision_id, 1.0, source_id="early")
        logbook.said(connection, decision_id, 0.0, source_id="test")
        logbook.said(connection, decision_id, 0.5, source_type="HUMAN", source_id="reviewer")
        logbook.said(
            connection,
            decision_id,
            1.0,
            name="faithfulness",
            source_type="LLM_JUDGE",
            source_id="llm",
        )
        logbook.said(connection, decision_id, 1.0, name="utility", document=1, source_id="clicks")
        logbook.said(connection, decision_id, 1.0, name="mood", source_id="nobody asked")
        logbook.rewarded(connection, decision_id, 0.5, credits=[None, 1.0, None], tenant="acme")

    with engine.connect() as connection:
        (example,) = read(connection, closed(connection)).examples

    # The most trusted source of the reward, the multiplier, and the credit; code was trusted less.
    assert example.origins == {
        Origin("acme", Source.HUMAN, "reviewer"),
        Origin("acme", Source.LLM_JUDGE, "llm"),
        Origin("acme", Source.CODE, "clicks"),
    }


def test_what_is_said_after_the_window_closed_changes_no_origin(engine, rng):
    with engine.begin() as connection:
        decision_id = decided(connection, rng)
        logbook.said(connection, decision_id, 1.0)
        logbook.rewarded(connection, decision_id, 1.0)
    with engine.connect() as connection:
        then = closed(connection)
    with engine.begin() as connection:
        logbook.said(connection, decision_id, 0.0, source_type="HUMAN", source_id="late")

    with engine.connect() as connection:
        (example,) = read(connection, then).examples

    assert example.origins == {Origin("default", Source.CODE, "test")}


def silence(connection, source_id, **columns):
    row = {"tenant": "default", "source_type": "CODE", "source_id": source_id, "quarantined": True}
    said = {"since": None, "actor": "operator", "reason": "wrong"}
    connection.execute(quarantine.change(**row | said | columns))


def both_said(connection, rng):
    """A reward of 0 by the source that spoke last, and a decision that it alone spoke of."""
    decision_id, alone = decided(connection, rng), decided(connection, rng)
    logbook.said(connection, decision_id, 1.0, source_id="honest")
    logbook.said(connection, decision_id, 0.9, name="utility", document=1, source_id="honest")
    for each in (decision_id, alone):
        at = datetime.now(UTC) + timedelta(seconds=1)
        logbook.said(connection, each, 0.0, source_id="mallory", occurred_at=at)
        logbook.rewarded(connection, each, 0.0)
    return decision_id


def test_a_source_in_quarantine_is_read_as_if_it_had_not_spoken(engine, rng):
    with engine.begin() as connection:
        decision_id = both_said(connection, rng)
        silence(connection, "mallory")

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    (example,) = joined.examples
    assert (example.decision.id, example.reward) == (decision_id, 1.0)
    assert example.credits == {1: 0.9}
    assert example.origins == {Origin("default", Source.CODE, "honest")}
    assert joined.skipped == {Skipped.SILENCED: 1}


def test_a_lifted_quarantine_changes_nothing(engine, rng):
    with engine.begin() as connection:
        both_said(connection, rng)
        silence(connection, "mallory")
        silence(connection, "mallory", quarantined=False)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert [each.reward for each in joined.examples] == [0.0, 0.0]


@pytest.mark.parametrize(
    "columns",
    [
        {"tenant": "acme"},
        {"source_type": "HUMAN"},
        {"since": datetime.now(UTC) + timedelta(days=1)},
    ],
    ids=["another tenant's", "another type", "what it says from tomorrow on"],
)
def test_a_quarantine_silences_nothing_else(engine, rng, columns):
    with engine.begin() as connection:
        both_said(connection, rng)
        silence(connection, "mallory", **columns)

    with engine.connect() as connection:
        joined = read(connection, closed(connection))

    assert [each.reward for each in joined.examples] == [0.0, 0.0]
