"""The champion beside the base that is held back, on made-up counts, so that every bound is on the page."""

from dataclasses import replace
from math import log, sqrt

import pytest

from trainer.canary import Arm, Limits
from trainer.gate import Answer
from trainer.hold_back import compare
from trainer.sequences import TUNED_AT, Moments

LIMITS = Limits()


def share_of(units, value):
    """So many units, of which a share of `value` is 1 and the rest 0."""
    ones = round(units * value)
    return Moments.of([1.0] * ones + [0.0] * (units - ones))


def arm(units, reward, *, coverage=0.5):
    """So many judged units among twice as many."""
    nothing = Moments.of([])
    return Arm(
        reward=share_of(units, reward),
        coverage=share_of(2 * units, coverage),
        errors=nothing,
        slow=nothing,
    )


def test_the_gain_is_the_champions_mean_less_the_bases_within_the_sequence():
    base, champion = arm(100, 0.5), arm(900, 0.7)

    found = compare([(0.1, base, champion)], LIMITS)

    variance = 0.7 * 0.3 / 899 + 0.5 * 0.5 / 99
    rho_squared = (-2 * log(0.05) + log(1 - 2 * log(0.05))) / TUNED_AT
    time = 100 * 900 / (100 + 900) * rho_squared
    half = sqrt(variance) * sqrt(2 * (time + 1) / time * log(sqrt(time + 1) / 0.05))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    assert (found.units, found.answer) == ((900, 100), Answer.PASS)
    assert found.reason == (
        f"it is better than the base: gain +0.2000, between {0.2 - half:+.4f} and {0.2 + half:+.4f},"
        " over 900 units of the champion and 100 of the base"
    )


def test_a_champion_that_is_surely_below_the_base_is_told_so():
    found = compare([(0.1, arm(100, 0.7), arm(900, 0.5))], LIMITS)

    assert (found.answer, found.high < 0) == (Answer.REFUSE, True)
    assert found.reason.startswith("it is worse than the base: gain -0.2000, between ")


def test_what_may_be_chance_is_not_enough_evidence():
    found = compare([(0.1, arm(100, 0.7), arm(900, 0.7))], LIMITS)

    assert (found.answer, found.low < 0 < found.high) == (Answer.NOT_ENOUGH_EVIDENCE, True)
    assert found.reason.startswith("gain +0.0000, between ")


def test_few_units_of_the_base_conclude_nothing():
    found = compare([(0.1, arm(49, 0.0), arm(441, 1.0))], LIMITS)

    assert (found.answer, found.units) == (Answer.NOT_ENOUGH_EVIDENCE, (441, 49))
    assert found.reason == "49 judged units in one arm, 50 are needed"


def test_better_days_are_no_gain():
    # Both are at .2 while a tenth is held back, and at .8 once half is: pooled, .70 less .41.
    worse_days = (0.1, arm(200, 0.2), arm(1800, 0.2))
    better_days = (0.5, arm(1000, 0.8), arm(1000, 0.8))

    assert compare([worse_days, better_days], LIMITS).value == pytest.approx(0.0)


def test_what_a_replica_did_not_hold_back_is_noticed():
    base, champion = arm(100, 0.5), arm(1900, 0.7)

    found = compare([(0.1, base, champion)], LIMITS)

    assert found.answer is Answer.NOT_ENOUGH_EVIDENCE
    assert found.reason == "the base's share of units is off by -5.00%"


def test_arms_that_are_judged_unequally_often_are_not_compared():
    base, champion = replace(arm(500, 0.5), coverage=share_of(1000, 0.7)), arm(500, 0.7)

    found = compare([(0.5, base, champion)], LIMITS)

    assert found.reason == "the arms are judged unequally often, by +20.00%"
