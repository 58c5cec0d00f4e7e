from itertools import permutations
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.policy import Policy, choose, log_prob_sampled, log_propensity

LOGITS = np.array([0.3, 1.2, -0.5, 0.9])


def test_the_greedy_prefix_gains_from_both_sides_of_the_coin():
    policy = Policy(epsilon=0.2, temperature=1.0)
    greedy_first = exp(1.2) / sum(np.exp(LOGITS))

    beta = log_propensity(LOGITS, np.array([1]), policy)

    assert beta == pytest.approx([log(0.8 + 0.2 * greedy_first)])


def test_any_other_prefix_comes_from_exploration_alone():
    policy = Policy(epsilon=0.2, temperature=2.0)
    other = exp(0.3 / 2) / sum(np.exp(LOGITS / 2))

    beta = log_propensity(LOGITS, np.array([0]), policy)

    assert beta == pytest.approx([log(0.2 * other)])


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("sampled", [2, 3, 20])
@pytest.mark.parametrize("max_fall", [None, 1])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_propensities_of_all_orders_sum_to_one(epsilon, sampled, max_fall, length):
    policy = Policy(epsilon=epsilon, temperature=0.7, sampled=sampled, max_fall=max_fall)

    total = sum(
        exp(log_propensity(LOGITS, np.array(order), policy)[-1])
        for order in permutations(range(4), length)
    )

    assert total == pytest.approx(1)


def test_ranks_beyond_the_sampled_set_never_move():
    policy = Policy(epsilon=1.0, temperature=1.0, sampled=2)
    rng = np.random.default_rng(0)

    tails = {tuple(choose(LOGITS, policy, rng, top_n=4).shown[2:].tolist()) for _ in range(50)}

    assert tails == {(0, 2)}
    assert log_prob_sampled(LOGITS, np.array([0, 1]), policy).tolist() == [-np.inf, -np.inf]


@given(
    logits=st.lists(st.floats(-20, 20), min_size=1, max_size=8).map(np.array),
    epsilon=st.floats(0.01, 1),
    max_fall=st.none() | st.integers(0, 8),
    sampled=st.integers(1, 9),
    top_n=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_what_was_shown_has_a_finite_propensity_that_recomputes(
    *, logits, epsilon, max_fall, sampled, top_n, seed
):
    policy = Policy(epsilon=epsilon, temperature=0.9, sampled=sampled, max_fall=max_fall)

    choice = choose(logits, policy, np.random.default_rng(seed), top_n=top_n)

    assert len(set(choice.shown.tolist())) == len(choice.shown) == min(top_n, len(logits))
    assert np.isfinite(choice.cum_log_propensity).all()
    assert (choice.cum_log_propensity <= 0).all()
    recomputed = log_propensity(logits, choice.shown, policy)
    assert recomputed.tolist() == choice.cum_log_propensity.tolist()


def test_without_exploration_the_greedy_order_is_certain():
    choice = choose(LOGITS, Policy(epsilon=0.0, temperature=1.0), np.random.default_rng(0), top_n=3)

    assert choice.shown.tolist() == [1, 3, 0]
    assert choice.cum_log_propensity.tolist() == [0.0, 0.0, 0.0]
    assert not choice.explored
