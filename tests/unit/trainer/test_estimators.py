"""A world of four candidates, two of them used, whose every order is enumerated: the truth is known."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from contract import plackett_luce
from trainer.estimators import (
    Doubt,
    Estimate,
    Evidence,
    clusters_until,
    delta_beta_ips,
    doubts,
    effective_share,
    ips,
    mean,
    snips,
    weight_change,
    with_one_more_loss,
)

EPSILON = 0.3
ORDERS = list(permutations(range(4), 2))
CHAMPION = np.array([1.2, 0.6, 0.0, -0.4])
CANDIDATE = np.array([0.5, 0.7, 0.9, -0.6])
REWARD = np.array([0.2, 0.3, 0.95, 0.6])
"""Of the first used candidate; the second adds a tenth of its own."""


def log_p(logits):
    greedy = plackett_luce.greedy(logits)
    ranks = np.argsort(greedy)
    return np.array(
        [plackett_luce.log_prob(logits[greedy], ranks[list(order)])[-1] for order in ORDERS]
    )


LOG_CHAMPION, LOG_CANDIDATE = log_p(CHAMPION), log_p(CANDIDATE)
IS_GREEDY = np.array([order == (0, 1) for order in ORDERS])
BETA = (1 - EPSILON) * IS_GREEDY + EPSILON * np.exp(LOG_CHAMPION)
CHANGE = (np.exp(LOG_CANDIDATE) - np.exp(LOG_CHAMPION)) / BETA
MEAN_REWARD = np.array([0.9 * REWARD[first] + 0.1 * REWARD[second] for first, second in ORDERS])
TRUTH = float((np.exp(LOG_CANDIDATE) * MEAN_REWARD).sum())
CHAMPIONS = float((np.exp(LOG_CHAMPION) * MEAN_REWARD).sum())


def logged_with_order(n, *, seed=0, mean=MEAN_REWARD):
    """Events of the mixture: a coin, then greedy or a sample; rewards are Bernoulli."""
    rng = np.random.default_rng(seed)
    explored = rng.random(n) < EPSILON
    sampled = rng.choice(len(ORDERS), size=n, p=np.exp(LOG_CHAMPION))
    order = np.where(explored, sampled, int(np.argmax(IS_GREEDY)))
    evidence = Evidence(
        log_candidate=LOG_CANDIDATE[order],
        log_champion=LOG_CHAMPION[order],
        log_propensity=np.log(BETA)[order],
        log_sampled=LOG_CHAMPION[order],
        explored=explored,
        reward=(rng.random(n) < mean[order]).astype(float),
        observed=np.ones(n),
        cluster=rng.integers(0, n // 4, size=n),
        balance=balance(CHANGE[order]),
    )
    return evidence, order


def logged(n, *, seed=0):
    return logged_with_order(n, seed=seed)[0]


def balance(change):
    """Of a mean of Dw: its variance under the propensities of this world is enumerated."""
    return float(change.mean() / np.sqrt((BETA * CHANGE**2).sum() / len(change)))


def only(evidence, kept):
    return replace(
        evidence,
        **{
            name: getattr(evidence, name)[kept]
            for name in Evidence.__slots__
            if name not in {"unsupported", "balance", "is_cut", "first_step_share"}
        },
    )


def covers(estimate, truth):
    """Within four standard errors: by chance once in 16,000."""
    return abs(estimate.value - truth) < 4 * estimate.standard_error


def test_the_propensities_of_the_world_sum_to_one():
    assert BETA.sum() == pytest.approx(1)


def until_cited(evidence, order):
    """The first document answers alone where it is good enough, cited; else the answer is made of both."""
    first = np.array([ORDERS[at][0] for at in order])
    answers_alone = np.isin(first, [2, 3])

    def cut(log_both, logits):
        log_first = np.log(np.exp(logits) / np.exp(logits).sum())[first]
        return np.where(answers_alone, log_first, log_both)

    log_champion = cut(evidence.log_champion, CHAMPION)
    greedy_first = (1 - EPSILON) * (first == 0)
    return replace(
        evidence,
        log_candidate=cut(evidence.log_candidate, CANDIDATE),
        log_champion=log_champion,
        log_sampled=log_champion,
        log_propensity=np.where(
            answers_alone,
            np.log(greedy_first + EPSILON * np.exp(log_champion)),
            evidence.log_propensity,
        ),
    )


def test_up_to_the_last_cited_document_the_truth_is_the_same_and_the_error_smaller():
    """Where what follows a cited document does not change the reward: here, that of 2 and 3 is theirs alone."""
    mean = np.array(
        [REWARD[a] if a in {2, 3} else 0.9 * REWARD[a] + 0.1 * REWARD[b] for a, b in ORDERS]
    )
    gain = float(((np.exp(LOG_CANDIDATE) - np.exp(LOG_CHAMPION)) * mean).sum())
    evidence, order = logged_with_order(20_000, mean=mean)

    whole, cut = delta_beta_ips(evidence), delta_beta_ips(until_cited(evidence, order))

    assert covers(whole, gain)
    assert covers(cut, gain)
    assert cut.standard_error < 0.95 * whole.standard_error


@pytest.mark.parametrize("seed", range(3))
def test_the_estimators_recover_the_enumerated_truth(seed):
    evidence = logged(20_000, seed=seed)

    assert covers(ips(evidence), TRUTH)
    assert covers(snips(evidence), TRUTH)
    assert covers(delta_beta_ips(evidence), TRUTH - CHAMPIONS)


def test_explored_answers_alone_recover_it_with_the_propensity_of_their_coin():
    evidence = logged(20_000)
    explored = only(replace(evidence, log_propensity=evidence.log_sampled), evidence.explored)

    assert covers(delta_beta_ips(explored), TRUTH - CHAMPIONS)


def test_explored_answers_with_the_mixture_propensity_are_biased_and_found_out():
    evidence = logged(20_000)
    biased = only(evidence, evidence.explored)
    biased = replace(biased, balance=balance(weight_change(biased)))

    assert not covers(delta_beta_ips(biased), TRUTH - CHAMPIONS)
    assert Doubt.UNBALANCED in doubts(biased, expected_gain=0.1)


def test_all_answers_with_the_sampled_propensity_are_biased():
    evidence = logged(20_000)
    biased = replace(evidence, log_propensity=evidence.log_sampled)
    biased = replace(biased, balance=balance(weight_change(biased)))

    assert not covers(delta_beta_ips(biased), TRUTH - CHAMPIONS)
    assert Doubt.UNBALANCED in doubts(biased, expected_gain=0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = [
        delta_beta_ips(logged(800, seed=seed)).low(0.05) < TRUTH - CHAMPIONS for seed in range(400)
    ]

    # 95 % of 400 is 380; a binomial's standard deviation is 4.4, and four of them are 17.
    assert sum(covered) >= 380 - 17


def test_one_query_asked_again_is_no_new_evidence():
    evidence = logged(400)
    twice = only(evidence, np.tile(np.arange(400), 2))

    once, again = delta_beta_ips(evidence), delta_beta_ips(twice)

    assert again.value == pytest.approx(once.value)
    assert again.standard_error == pytest.approx(once.standard_error)


def test_the_paired_difference_has_less_variance_than_a_difference_of_two():
    def difference(evidence):
        champion = replace(evidence, log_candidate=evidence.log_champion)
        return snips(evidence).value - snips(champion).value

    worlds = [logged(500, seed=seed) for seed in range(200)]
    paired = np.std([delta_beta_ips(world).value for world in worlds])

    assert paired < np.std([difference(world) for world in worlds])


def test_the_champion_against_itself_is_exactly_no_difference():
    evidence = logged(500)
    same = replace(evidence, log_candidate=evidence.log_champion)

    assert weight_change(same) == pytest.approx(0)
    assert delta_beta_ips(same).value == 0.0


def test_the_effective_share_is_that_of_the_weights():
    evidence = replace(
        only(logged(4), np.arange(4) < 2),
        explored=np.array([True, True]),
        log_sampled=np.log([0.5, 0.5]),
        log_candidate=np.log([0.5, 0.1]),
    )

    # w = 1 and .2: (1.2)^2 / (2 * 1.04)
    assert effective_share(evidence) == pytest.approx(1.44 / 2.08)


def test_the_effective_share_is_at_most_that_of_the_first_steps():
    even = replace(logged(400), log_candidate=logged(400).log_sampled)

    assert effective_share(even) == pytest.approx(1)
    assert effective_share(replace(even, first_step_share=0.1)) == 0.1
    assert doubts(replace(even, first_step_share=0.1), expected_gain=0.1)[-1] is Doubt.FEW_EFFECTIVE


def test_a_believable_estimate_has_no_doubts():
    assert doubts(logged(2_000), expected_gain=0.1) == []


def test_each_doubt_has_its_cause():
    evidence = logged(2_000)
    distant = replace(evidence, log_candidate=evidence.log_candidate * 12)

    assert Doubt.FEW_QUERIES in doubts(logged(300), expected_gain=0.1)  # 75 at most
    assert Doubt.FEW_QUERIES in doubts(logged(1_000), expected_gain=0.01)  # 250, and 400 are asked
    assert Doubt.FEW_QUERIES not in doubts(logged(1_000), expected_gain=0.1)
    assert Doubt.FEW_EFFECTIVE in doubts(distant, expected_gain=0.1)
    assert doubts(replace(evidence, unsupported=0.03), expected_gain=0.1) == [Doubt.UNSUPPORTED]


def test_right_propensities_are_hardly_ever_doubted():
    doubted = [
        Doubt.UNBALANCED in doubts(logged(800, seed=seed), expected_gain=0.1) for seed in range(400)
    ]

    # One in a thousand; of 400 more than 4 would come once in a few thousand times.
    assert sum(doubted) <= 4


def test_what_it_would_take_grows_with_the_square_of_the_error():
    # The bound is 1.645 errors at most below: to halve the error takes four times the queries.
    estimate = Estimate(value=0.01, standard_error=0.02, clusters=10_000)

    assert estimate.clusters_needed(0.05) == pytest.approx(10_000 * (1.645 * 2) ** 2, rel=1e-3)


def test_what_does_not_gain_never_will():
    assert Estimate(value=-0.01, standard_error=0.02, clusters=100).clusters_needed(0.05) is None


def test_no_evidence_at_all_has_an_infinite_interval():
    nothing = only(logged(4), np.zeros(4, dtype=bool))

    assert delta_beta_ips(nothing).low(0.05) == -np.inf
    assert Doubt.FEW_QUERIES in doubts(nothing, expected_gain=0.1)


def test_one_more_loss_is_a_query_of_its_own_that_loses_everything():
    gains, queries = np.array([0.5, 0.1, 0.3]), np.array([7, 7, 2])

    careful = with_one_more_loss(gains, queries)

    assert careful == mean(np.array([0.5, 0.1, 0.3, -1.0]), np.array([0, 0, 1, 2]))
    assert careful.value == pytest.approx((0.5 + 0.1 + 0.3 - 1) / 4)


def test_no_differences_at_all_have_no_bound():
    assert with_one_more_loss(np.array([]), np.array([], dtype=np.int64)).low(0.05) == -np.inf


@pytest.mark.parametrize(("gain", "n"), [(0.02, 150), (0.2, 400)])
def test_as_many_queries_as_it_takes_are_enough(gain, n):
    drawn = np.random.default_rng(0).normal(0, 0.3, size=n)
    drawn += gain - drawn.mean()

    needed = clusters_until(mean(drawn, np.arange(n)), 0.03)

    assert needed is not None
    more = np.tile(drawn, needed // n + 1)  # the same value and spread
    assert with_one_more_loss(more, np.arange(len(more))).low(0.03) > 0


def test_no_number_of_queries_shows_a_gain_that_is_none():
    assert clusters_until(mean(np.array([0.5, -0.5]), np.arange(2)), 0.03) is None


def seldom(n, *, weighted):
    """A judge that reads one in four of the answers that came out well, and all others."""
    evidence = logged(n)
    probability = np.where(evidence.reward > 0, 0.25, 1.0)
    read = np.random.default_rng(9).random(n) < probability
    observed = 1 / probability if weighted else np.ones(n)
    return only(replace(evidence, observed=observed), read)


@pytest.mark.parametrize("estimate", [ips, snips])
def test_rewards_that_are_seldom_observed_stand_for_those_that_were_not(estimate):
    told, untold = (estimate(seldom(40_000, weighted=weighted)) for weighted in (True, False))

    assert abs(told.value - TRUTH) < 3 * told.standard_error
    assert abs(untold.value - TRUTH) > 10 * untold.standard_error


def test_the_difference_too_is_right_where_rewards_are_observed_by_chance_alone():
    told, untold = (delta_beta_ips(seldom(40_000, weighted=weighted)) for weighted in (True, False))

    assert abs(told.value - (TRUTH - CHAMPIONS)) < 3 * told.standard_error
    assert abs(untold.value - (TRUTH - CHAMPIONS)) > 3 * untold.standard_error


def test_weights_that_are_all_the_same_change_nothing():
    evidence = logged(500)

    same = delta_beta_ips(replace(evidence, observed=np.full(500, 4.0)))

    assert same.value == pytest.approx(delta_beta_ips(evidence).value)
    assert same.standard_error == pytest.approx(delta_beta_ips(evidence).standard_error)


def test_a_weighted_mean_is_that_of_so_many_decisions():
    values, clusters = np.array([0.2, 1.0]), np.array([0, 1])

    found = mean(values, clusters, np.array([3.0, 1.0]))

    assert found.value == pytest.approx((3 * 0.2 + 1.0) / 4)
    assert found.standard_error == pytest.approx(
        np.sqrt(2 / 1 * ((3 * (0.2 - 0.4)) ** 2 + (1.0 - 0.4) ** 2)) / 4
    )
