"""Intervals that may be looked at at any time: their formulas on small numbers, their promise on simulated traffic."""

from math import inf, log, sqrt

import numpy as np
import pytest

from trainer.sequences import (
    TUNED_AT,
    Difference,
    Moments,
    difference,
    imbalance,
    interval,
    spread,
)


def test_moments_give_the_mean_and_its_variance():
    moments = Moments.of([0.0, 1.0, 0.5])

    assert moments.mean == pytest.approx(0.5)
    assert moments.variance == pytest.approx((0.25 + 0.25) / 2 / 3)


def test_one_unit_has_no_known_variance_and_none_has_no_mean():
    one, none = Moments.of([1.0]), Moments.of([])

    assert [float(one.mean), float(one.variance)] == [1.0, inf]
    assert [float(none.mean), float(none.variance)] == [0.0, inf]


def test_the_difference_of_two_arms_has_the_sum_of_their_variances():
    canary, champion = Moments.of([0.0, 1.0]), Moments.of([1.0, 1.0, 0.0, 1.0])

    found = difference([(canary, champion)])

    assert found.value == pytest.approx(1 / 2 - 3 / 4)
    assert found.variance == pytest.approx(1 / 2 / 2 + (3 * 1 / 16 + 9 / 16) / 3 / 4)
    assert found.size == pytest.approx(2 * 4 / (2 + 4))


def test_stages_are_compared_within_themselves_whatever_the_trend():
    low, high = Moments.of([0.0, 0.2] * 10), Moments.of([0.8, 1.0] * 90)
    later_low, later_high = Moments.of([0.0, 0.2] * 50), Moments.of([0.8, 1.0] * 50)

    found = difference([(low, low), (high, high), (later_high, later_high), (later_low, later_low)])

    assert found.value == pytest.approx(0.0)
    assert found.size == pytest.approx(20 / 2 + 180 / 2 + 100 / 2 + 100 / 2)


def test_a_stage_counts_by_the_units_that_it_compares():
    first = (Moments.of([1.0, 0.8]), Moments.of([0.0, 0.2, 0.1, 0.1, 0.1, 0.1]))
    second = (Moments.of([0.4, 0.6]), Moments.of([0.4, 0.6]))

    found = difference([first, second])

    assert found.value == pytest.approx((1.5 * 0.8 + 1.0 * 0.0) / (1.5 + 1.0))


def test_a_stage_without_units_changes_nothing():
    arms = (Moments.of([0.0, 1.0]), Moments.of([1.0, 1.0, 0.0]))
    empty = (Moments.of([]), Moments.of([0.5]))

    both, alone = difference([arms, empty]), difference([arms])

    assert (both.value, both.variance, both.size) == (alone.value, alone.variance, alone.size)


def test_a_stage_with_one_unit_in_an_arm_changes_nothing():
    arms = (Moments.of([0.0, 1.0]), Moments.of([1.0, 1.0, 0.0]))
    lonely = (Moments.of([1.0]), Moments.of([0.5, 0.7]))

    both, alone = difference([arms, lonely]), difference([arms])

    assert (both.value, both.variance, both.size) == (alone.value, alone.variance, alone.size)


def test_nothing_seen_bounds_nothing():
    low, high = interval(difference([(Moments.of([]), Moments.of([]))]), alpha=0.05)

    assert [float(low), float(high)] == [-inf, inf]


def test_the_width_is_that_of_the_normal_mixture():
    alpha, size = 0.05, 300.0
    rho_squared = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / TUNED_AT
    time = size * rho_squared

    half = sqrt(0.04) * sqrt(2 * (time + 1) / time * log(sqrt(time + 1) / alpha))
    low, high = interval(
        Difference(value=np.array(0.1), variance=np.array(0.04), size=np.array(size)), alpha=alpha
    )

    assert [float(low), float(high)] == pytest.approx([0.1 - half, 0.1 + half])


def test_a_sequence_is_wider_than_an_interval_at_any_size():
    sizes = np.array([1.0, 10.0, 100.0, 1e4, 1e6])

    assert (spread(sizes, alpha=0.05) > 1.96).all()
    assert 1.5 < spread(TUNED_AT, alpha=0.05) / 1.96 < 1.6


def test_the_imbalance_is_what_the_canary_has_beyond_its_share():
    canary, champion = Moments.of([0.0] * 30), Moments.of([0.0] * 70)

    found = imbalance([(0.1, canary, champion)])

    assert found.value == pytest.approx((30 - 0.1 * 100) / 100)
    assert found.variance == pytest.approx(0.1 * 0.9 / 100)


def test_looking_at_every_unit_misses_the_truth_no_more_often_than_promised():
    # 400 canaries without a difference, looked at after each of 1,000 units: at most 5 %, and 3 errors of 400 more.
    rng = np.random.default_rng(0)
    arm = rng.random((400, 1000)) < 0.1
    reward = (rng.random((400, 1000)) < 0.7) * 1.0
    first, second = (
        Moments(
            count=(mine * 1.0).cumsum(-1),
            total=(mine * reward).cumsum(-1),
            squares=(mine * reward**2).cumsum(-1),
        )
        for mine in (arm, ~arm)
    )

    found = difference([(first, second)])
    low, high = interval(found, alpha=0.05)
    missed = ((low > 0) | (high < 0)) & (np.minimum(first.count, second.count) >= 50)
    z = np.abs(found.value) > 1.96 * np.sqrt(found.variance)

    assert missed.any(-1).mean() < 0.05 + 3 * sqrt(0.05 * 0.95 / 400)
    assert (z & (first.count >= 50)).any(-1).mean() > 0.1
