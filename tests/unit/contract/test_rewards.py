from datetime import UTC, datetime, timedelta
from itertools import count, permutations
from uuid import UUID

import pytest

from contract.records import Feedback, Source
from contract.rewards import RewardSpec, counted, reward

DECISION = UUID(int=1)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SPEC = RewardSpec()
_numbers = count(1)


def said(value, name="reward", *, source=Source.CODE, minute=0, **other):
    return Feedback(
        id=UUID(int=next(_numbers)),
        decision_id=DECISION,
        name=name,
        value=value,
        source=source,
        source_id="test",
        occurred_at=NOON + timedelta(minutes=minute),
        **other,
    )


def test_missing_feedback_is_unobserved_and_not_zero():
    assert reward(SPEC, []).value is None


def test_a_judge_that_failed_is_unobserved_and_not_zero():
    assert reward(SPEC, [said(None)]).value is None


def test_feedback_of_an_unknown_name_counts_for_nothing():
    assert reward(SPEC, [said(1.0, "latency_ms")]).value is None


def test_the_most_trusted_source_that_spoke_decides():
    rows = [said(0.0, source=Source.LLM_JUDGE), said(1.0, source=Source.HUMAN)]

    assert reward(SPEC, rows).value == 1.0


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("latest", 0.5), ("mean", (1.0 + 0.0 + 0.5) / 3), ("min", 0.0), ("max", 1.0)],
)
def test_several_values_combine_as_the_spec_says_in_any_order(combine, expected):
    spec = RewardSpec(combine=combine)
    rows = [said(1.0, minute=1), said(0.0, minute=2), said(0.5, minute=3)]

    assert {reward(spec, order).value for order in permutations(rows)} == {expected}


def test_a_correction_replaces_what_it_supersedes():
    wrong = said(0.0, minute=5)
    right = said(1.0, minute=1, supersedes=wrong.id)

    assert reward(SPEC, [wrong, right]).value == 1.0


def test_a_tombstone_takes_feedback_back():
    thumb = said(1.0)
    tombstone = said(None, supersedes=thumb.id, retracted=True)

    outcome = reward(SPEC, [thumb, tombstone])

    assert outcome.value is None
    assert outcome.feedback_count == 2


def test_faithfulness_multiplies_and_never_adds():
    assert reward(SPEC, [said(0.8), said(0.5, "faithfulness")]).value == pytest.approx(0.8 * 0.5)
    assert reward(SPEC, [said(0.5, "faithfulness")]).value is None


def test_values_are_cut_to_the_unit_interval():
    assert reward(SPEC, [said(7.0)]).value == 1.0
    assert reward(SPEC, [said(-7.0)]).value == 0.0


def test_what_is_said_of_documents_is_credit_and_not_reward():
    rows = [said(1.0, "utility", document=2), said(0.0, "relevance", document=0)]

    outcome = reward(SPEC, rows)

    assert outcome.value is None
    assert outcome.credits == {2: 1.0, 0: 0.0}


def verdict(value, judge, name="quality", **other):
    return said(value, name, source=Source.LLM_JUDGE, judge=judge, **other)


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("latest", 0.5), ("mean", (0.25 + 0.5) / 2), ("min", 0.25), ("max", 0.5)],
)
def test_only_the_newest_version_of_a_judge_counts_in_any_order(combine, expected):
    spec = RewardSpec(combine=combine)
    rows = [
        verdict(1.0, "quality@1 small", minute=1),
        verdict(0.0, "quality@1 large", minute=2),
        verdict(0.25, "quality@2 large", minute=3),
        verdict(0.5, "quality@2 large", minute=4),
    ]

    assert {reward(spec, order).value for order in permutations(rows)} == {expected}


def test_two_names_may_have_two_judges():
    rows = [verdict(0.8, "quality@2"), verdict(0.5, "grounding@1", "faithfulness", minute=-9)]

    assert reward(SPEC, rows).value == pytest.approx(0.8 * 0.5)


def test_a_document_has_no_credit_from_an_earlier_version_than_another_one():
    rows = [
        verdict(1.0, "relevance@1", "relevance", document=0, minute=1),
        verdict(0.0, "relevance@1", "relevance", document=1, minute=1),
        verdict(0.4, "relevance@2", "relevance", document=1, minute=2),
    ]

    assert reward(SPEC, rows).credits == {1: 0.4}


def test_people_have_no_versions():
    spec = RewardSpec(combine="mean")
    rows = [said(1.0, source=Source.HUMAN, minute=1), said(0.0, source=Source.HUMAN, minute=2)]

    assert reward(spec, rows).value == pytest.approx((1.0 + 0.0) / 2)


def test_a_verdict_that_was_taken_back_makes_no_version_the_newest():
    newer = verdict(0.0, "quality@2", minute=2)
    tombstone = said(None, supersedes=newer.id, retracted=True)

    assert reward(SPEC, [verdict(1.0, "quality@1", minute=1), newer, tombstone]).value == 1.0


def test_a_reward_is_as_likely_as_the_likeliest_statement_that_it_rests_on():
    spec = RewardSpec(combine="mean")
    rows = [verdict(1.0, "quality@1", observation=0.2), verdict(0.0, "quality@1", observation=0.5)]

    assert reward(spec, rows).observation == 0.5
    assert reward(spec, [*rows, said(1.0, "thumb", observation=1.0)]).observation == 1.0
    assert reward(spec, []).observation == 1.0


@pytest.mark.parametrize("name", ["quality", "faithfulness"])
def test_what_is_in_shadow_is_counted_and_changes_no_reward(name):
    heard = [verdict(0.8, "quality@1"), verdict(0.5, "grounding@1", "faithfulness")]
    shadow = verdict(0.0, "quality@2", name, minute=9, shadow=True)

    outcome = reward(SPEC, [*heard, shadow])

    assert outcome.value == reward(SPEC, heard).value == pytest.approx(0.8 * 0.5)
    assert outcome.feedback_count == 3


def test_a_verdict_in_shadow_alone_is_unobserved_and_not_zero():
    outcome = reward(SPEC, [verdict(0.0, "quality@1", shadow=True, observation=0.2)])

    assert (outcome.value, outcome.observation) == (None, 1.0)


def test_what_is_in_shadow_is_no_credit():
    rows = [
        verdict(1.0, "relevance@1", "relevance", document=0),
        verdict(0.0, "relevance@2", "relevance", document=1, minute=9, shadow=True),
    ]

    assert reward(SPEC, rows).credits == {0: 1.0}


def test_what_is_in_shadow_takes_nothing_back():
    thumb = said(1.0, "thumb", source=Source.END_USER)
    shadow = verdict(0.0, "quality@2", shadow=True, supersedes=thumb.id)

    assert reward(SPEC, [thumb, shadow]).value == 1.0


def test_a_statement_in_shadow_may_be_corrected_into_one_that_counts():
    shadow = verdict(0.0, "quality@2", shadow=True)

    assert reward(SPEC, [shadow, verdict(0.7, "quality@2", supersedes=shadow.id)]).value == 0.7


def test_what_is_in_shadow_is_none_of_what_counts():
    heard = verdict(0.8, "quality@1")

    assert counted(SPEC, [heard, verdict(0.1, "quality@2", minute=9, shadow=True)]) == [heard]
