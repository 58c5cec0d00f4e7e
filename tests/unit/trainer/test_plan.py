from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy.stats import norm

from contract import plackett_luce, policy
from contract.policy import Policy
from trainer import plan, sequences
from trainer.canary import Limits
from trainer.plan import Site, Spread

SITE = Site(
    rps=1.0,
    feedback_rate=0.05,
    explore=0.1,
    gate_share=0.5,
    round_min_rewards=500,
    alpha=0.05,
    candidates=2,
)
SPREAD = Spread(change=0.4, unit=0.5, rewards_of_unit=1.0)


def test_rewards_a_day_are_the_requests_that_somebody_judges():
    assert SITE.rewards_a_day == pytest.approx(86_400 * 0.05)


def test_the_gate_needs_what_its_interval_and_its_share_of_queries_take():
    # The first round tests two candidates at (6 / pi^2) 5 % together.
    quantiles = norm.isf(6 * 0.05 / np.pi**2 / 2) + norm.ppf(0.8)
    single = 0.4 / sqrt(0.1)

    needed = plan.gate_rewards(SITE, SPREAD, gain=0.02)

    assert needed == pytest.approx((quantiles * single / 0.02) ** 2 / 0.5)
    assert plan.gate_gain(SITE, SPREAD, count=needed) == pytest.approx(0.02)


def test_the_gate_never_passes_before_its_first_round_and_on_few_queries():
    quiet = Spread(change=1e-6)

    assert plan.gate_rewards(SITE, quiet, gain=0.05) == 500
    assert plan.gate_rewards(SITE, quiet, gain=0.04) == 400 / 0.5
    assert plan.gate_gain(SITE, quiet, count=499) is None
    assert plan.gate_gain(SITE, quiet, count=500) == 0.05


def test_more_exploration_is_a_verdict_sooner():
    much = replace(SITE, explore=0.4)

    slow, quick = (plan.gate_rewards(site, SPREAD, gain=0.02) for site in (SITE, much))

    assert slow / quick == pytest.approx(0.4 / 0.1)


def test_a_large_loss_ends_at_the_small_share_when_the_interval_excludes_zero():
    count = plan.canary_rewards(SPREAD, gain=-0.1)

    size = count * 0.1 * 0.9
    assert 0.5 / sqrt(size) * sequences.spread(size, alpha=0.05) == pytest.approx(0.1)


def test_a_gain_is_first_surely_no_large_loss_and_then_surely_a_gain():
    def half(size):
        return 0.5 / sqrt(size) * float(sequences.spread(size, alpha=0.05))

    count = plan.canary_rewards(SPREAD, gain=0.02)

    advanced = next(size for size in np.arange(1, 1e4) if half(size) <= Limits().max_loss + 0.02)
    size = advanced + (count - advanced / 0.09) * 0.25
    assert half(size) == pytest.approx(0.02, rel=0.01)  # whole effective units


def test_units_that_are_judged_often_take_more_rewards():
    often = Spread(change=0.4, unit=0.5, rewards_of_unit=3.0)

    once, thrice = (plan.canary_rewards(each, gain=0.05) for each in (SPREAD, often))

    assert thrice == pytest.approx(3 * once)


def test_what_a_canary_sees_is_the_gain_that_takes_so_many_rewards():
    count = plan.canary_rewards(SPREAD, gain=0.03)

    assert plan.canary_gain(SPREAD, count=count) == pytest.approx(0.03)
    assert plan.canary_gain(SPREAD, count=10) is None


def test_the_assumed_spread_is_that_of_a_model_that_moved_by_half_a_temperature():
    rng = np.random.default_rng(0)
    rule = Policy(epsilon=0.2, temperature=1.0, sampled=20)
    change = []
    for _ in range(3_000):
        logits = rng.normal(0, 1.8, 20)
        moved = logits + rng.normal(0, 0.5, 20)
        choice = policy.choose(logits, rule, rng, top_n=3)
        shown = choice.shown[:3]
        ours, theirs = (np.exp(plackett_luce.log_prob(each, shown)[-1]) for each in (moved, logits))
        change.append((ours - theirs) / np.exp(choice.cum_log_propensity[2]))
    squared = np.array(change) ** 2
    reward = rng.random(3_000) < 0.6

    centred = change * (reward - (reward * squared).sum() / squared.sum())

    # Heavy tails: the deviation of 3,000 is known to about a fifth.
    assert centred.std() * sqrt(0.2) == pytest.approx(Spread().change, rel=0.25)


def test_the_assumed_unit_is_one_reward_of_seven_in_ten():
    assert Spread().unit == pytest.approx(sqrt(0.7 * 0.3), abs=0.005)


def test_the_level_is_that_of_a_first_round_of_the_sites_own():
    strict = replace(SITE, alpha=0.01, candidates=1)
    quantiles = norm.isf(6 * 0.01 / np.pi**2) + norm.ppf(0.8)

    needed = plan.gate_rewards(strict, SPREAD, gain=0.02)

    assert needed == pytest.approx((quantiles * 0.4 / sqrt(0.1) / 0.02) ** 2 / 0.5)
