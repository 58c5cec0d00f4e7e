from itertools import permutations
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.plackett_luce import forced_steps, greedy, log_prob, sample

LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(np.array)


def test_each_position_is_a_softmax_over_what_is_left():
    a, b, c = 2.0, 1.0, 0.5
    scores = np.log([a, b, c])

    prefixes = log_prob(scores, [2, 0])

    assert prefixes == pytest.approx([log(c / (a + b + c)), log(c / (a + b + c) * a / (a + b))])


@pytest.mark.parametrize("max_fall", [None, 1, 2, 3])
def test_probabilities_of_all_rankings_sum_to_one(max_fall):
    scores = np.array([5.0, 1.1, 0.3, -2.0])

    total = sum(
        exp(log_prob(scores, ranking, max_fall=max_fall)[-1]) for ranking in permutations(range(4))
    )

    assert total == pytest.approx(1)


@pytest.mark.parametrize("max_fall", [None, 2])
def test_probabilities_of_all_prefixes_sum_to_one(max_fall):
    scores = np.array([0.7, 0.5, 0.1, -0.4])

    total = sum(
        exp(log_prob(scores, prefix, max_fall=max_fall)[-1]) for prefix in permutations(range(4), 2)
    )

    assert total == pytest.approx(1)


@given(logits=LOGITS)
def test_log_probabilities_are_finite_and_never_rise(logits):
    prefixes = log_prob(logits, greedy(logits))

    assert np.isfinite(prefixes).all()
    assert (np.diff(prefixes, prepend=0.0) <= 0).all()


def test_a_single_item_is_certain():
    assert log_prob(np.array([-7.0]), [0]).tolist() == [0.0]


def test_extreme_logits_neither_overflow_nor_lose_the_certain_order():
    prefixes = log_prob(np.array([1e4, 0.0, -1e4]), [0, 1, 2])

    assert prefixes.tolist() == [0.0, 0.0, 0.0]


def test_equal_logits_are_ranked_in_request_order():
    assert greedy(np.array([1.0, 3.0, 1.0, 3.0])).tolist() == [1, 3, 0, 2]


def test_the_best_item_is_due_after_max_fall_steps():
    # max_fall 1: rank 0 was not first, so the second step must show it; rank 1 is then due third.
    assert forced_steps(np.array([2, 0, 1]), max_fall=1).tolist() == [False, True, True]


def test_a_forced_step_has_probability_one_and_anything_else_there_is_impossible():
    scores = np.log([2.0, 1.0, 1.0])

    assert log_prob(scores, [2, 0, 1], max_fall=1) == pytest.approx([log(1 / 4)] * 3)
    assert log_prob(scores, [2, 1, 0], max_fall=1).tolist()[1:] == [-np.inf, -np.inf]


@given(logits=LOGITS, max_fall=st.integers(0, 6), seed=st.integers(0, 1000))
def test_no_item_falls_further_than_the_bound(logits, max_fall, seed):
    logits = np.sort(logits)[::-1]

    shown = sample(logits, np.random.default_rng(seed), max_fall=max_fall)

    assert sorted(shown.tolist()) == list(range(len(logits)))
    assert (np.argsort(shown) - np.arange(len(logits)) <= max_fall).all()


@pytest.mark.parametrize("max_fall", [None, 1])
def test_samples_come_as_often_as_their_probability_says(max_fall):
    scores, rng, draws = np.array([1.0, 0.5, 0.0]), np.random.default_rng(5), 20_000

    counts: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        ranking = tuple(sample(scores, rng, max_fall=max_fall).tolist())
        counts[ranking] = counts.get(ranking, 0) + 1

    for ranking in permutations(range(3)):
        expected = exp(log_prob(scores, ranking, max_fall=max_fall)[-1])
        # Four standard errors of a share of 20,000 draws are at most 4 * .5 / sqrt(20,000) = .0142.
        assert counts.get(ranking, 0) / draws == pytest.approx(expected, abs=0.0142)
