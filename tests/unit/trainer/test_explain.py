from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from contract.records import Feedback, Source
from contract.rewards import RewardSpec
from trainer.explain import Fate, fates

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
UNTIL = NOON + timedelta(days=7)
SPEC = RewardSpec()
_numbers = count(1)


def said(value, name="quality", *, source=Source.LLM_JUDGE, minute=0, judge=None, **other):
    judged = "quality@1" if source is Source.LLM_JUDGE else None
    return Feedback(
        id=UUID(int=next(_numbers)),
        decision_id=UUID(int=1),
        name=name,
        value=value,
        source=source,
        source_id="test",
        occurred_at=NOON + timedelta(minutes=minute),
        judge=judge or judged,
        **other,
    )


def explained(*rows, spec=SPEC):
    return [fate for _, fate in fates(spec, [(row, NOON) for row in rows], until=UNTIL)]


def test_a_verdict_and_its_multiplier_count():
    assert explained(said(0.8), said(0.5, "faithfulness")) == [Fate.COUNTS, Fate.COUNTS]


def test_a_tombstone_and_what_it_takes_back_are_told_apart():
    thumb = said(1.0, "thumb", source=Source.END_USER)
    tombstone = said(None, "thumb", source=Source.END_USER, supersedes=thumb.id, retracted=True)

    assert explained(thumb, tombstone) == [Fate.REPLACED, Fate.TOMBSTONE]


def test_a_correction_counts_and_not_what_it_supersedes():
    wrong = said(0.0)

    assert explained(wrong, said(1.0, supersedes=wrong.id)) == [Fate.REPLACED, Fate.COUNTS]


def test_what_came_after_the_end_is_late_and_takes_nothing_back():
    first = said(0.4)
    late = said(1.0, supersedes=first.id)

    found = fates(SPEC, [(first, NOON), (late, UNTIL)], until=UNTIL)

    assert [fate for _, fate in found] == [Fate.COUNTS, Fate.LATE]


def test_an_earlier_version_of_the_judge_does_not_count():
    rows = [said(0.0, judge="quality@1", minute=1), said(1.0, judge="quality@2", minute=2)]

    assert explained(*rows) == [Fate.EARLIER_JUDGE, Fate.COUNTS]


def test_what_is_in_shadow_says_so_and_makes_no_version_the_newest():
    rows = [said(0.4), said(1.0, judge="quality@2", minute=9, shadow=True)]

    assert explained(*rows) == [Fate.COUNTS, Fate.SHADOW]


@pytest.mark.parametrize(
    ("row", "fate"),
    [
        (said(None), Fate.NO_NUMBER),
        (said(1.0, "latency"), Fate.UNKNOWN_NAME),
        (said(1.0, "quality", document=0), Fate.UNKNOWN_NAME),
        (said(1.0, "relevance"), Fate.UNKNOWN_NAME),
        (said(1.0, source=Source.CODE), Fate.LESS_TRUSTED),
        (said(1.0, minute=-1), Fate.OLDER),
        (said(1.0, document=2, name="utility"), Fate.COUNTS),
    ],
)
def test_beside_a_verdict_each_statement_has_its_fate(row, fate):
    assert explained(row, said(0.5)) == [fate, Fate.COUNTS]


def test_a_source_that_the_spec_does_not_name_is_not_believed():
    spec = RewardSpec(sources=(Source.HUMAN,))

    assert explained(said(1.0), spec=spec) == [Fate.UNKNOWN_SOURCE]


def test_of_synonyms_the_first_that_was_used_counts():
    assert explained(said(1.0, "thumb"), said(0.5, "reward")) == [Fate.SYNONYM, Fate.COUNTS]
    assert explained(said(1.0, "utility", document=0), said(0.5, "relevance", document=0)) == [
        Fate.SYNONYM,
        Fate.COUNTS,
    ]


def test_a_multiplier_alone_multiplies_nothing():
    assert explained(said(0.5, "faithfulness")) == [Fate.NOTHING_TO_MULTIPLY]


def test_where_all_values_are_combined_all_count():
    spec = RewardSpec(combine="mean")

    assert explained(said(1.0), said(0.0, minute=1), spec=spec) == [Fate.COUNTS, Fate.COUNTS]
