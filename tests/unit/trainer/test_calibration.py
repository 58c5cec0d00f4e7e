from math import exp

import numpy as np
import pytest

from trainer import calibration


def test_perplexity_counts_the_documents_one_hesitates_between():
    assert calibration.perplexity(np.zeros(7), temperature=1) == pytest.approx(7)
    assert calibration.perplexity(np.array([0.0, -1e6]), temperature=1) == pytest.approx(1)


def test_perplexity_of_two_is_that_of_a_coin():
    p = exp(2) / (exp(2) + 1)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)

    assert calibration.perplexity(np.array([1.0, 0.0]), temperature=0.5) == pytest.approx(
        exp(entropy)
    )


def test_the_temperature_reaches_the_target_and_scales_with_the_logits():
    lists = list(np.random.default_rng(0).normal(size=(30, 20)))

    tau = calibration.temperature(lists)

    reached = np.mean([calibration.perplexity(each, temperature=tau) for each in lists])
    assert reached == pytest.approx(3.5, abs=1e-3)
    assert calibration.temperature([100 * each for each in lists]) == pytest.approx(100 * tau)


def test_only_the_twenty_best_count():
    rng = np.random.default_rng(0)
    best = list(rng.normal(size=(30, 20)))
    longer = [np.concatenate([each, each.min() - rng.uniform(size=30)]) for each in best]

    assert calibration.temperature(longer) == pytest.approx(calibration.temperature(best))


@pytest.mark.parametrize("logits", [np.zeros(2), np.zeros(20), np.array([1.0, 0.0])])
def test_a_target_out_of_reach_still_gives_a_temperature(logits):
    assert 0 < calibration.temperature([logits]) < np.inf


def test_the_anchor_of_the_base_is_the_identity():
    logits = np.random.default_rng(0).normal(scale=5, size=400)

    anchor = calibration.anchor(logits)

    identity = 1 / (1 + np.exp(-logits))
    assert anchor.relevance(logits) == pytest.approx(identity, abs=1e-12)
    assert len(anchor.own) == 33


def test_scores_of_a_later_version_are_spread_as_those_of_the_base():
    rng = np.random.default_rng(0)
    base = rng.normal(size=600)
    later = np.exp(2 * rng.normal(size=600)) - 7

    anchored = calibration.anchor(later, base=calibration.anchor(base).base).relevance(later)

    sigmoid = 1 / (1 + np.exp(-base))
    for threshold in (0.5, 0.8):
        assert (anchored > threshold).mean() == pytest.approx(
            (sigmoid > threshold).mean(), abs=0.02
        )


def test_the_anchor_comes_down_the_line_unchanged():
    rng = np.random.default_rng(0)
    first = calibration.anchor(rng.normal(size=600))
    second = calibration.anchor(rng.normal(size=600) * 3, base=first.base)

    third = calibration.anchor(rng.normal(size=600) * 9, base=second.base)

    assert third.base == second.base == first.base


def test_a_model_that_scores_everything_alike_has_an_anchor_of_one_knot():
    anchor = calibration.anchor(np.full(50, 2.0))

    assert anchor.relevance(np.array([2.0])) == pytest.approx(1 / (1 + exp(-2)))


def test_matched_logits_hesitate_as_much_as_the_others_do():
    theirs = [np.array([2.0, 1.0, 0.0]), np.array([0.5, 0.0, 0.0])]
    ours = [logits * 4 for logits in theirs]

    assert calibration.matched(ours, like=theirs, temperature_of_those=1.5) == pytest.approx(
        6.0, rel=1e-4
    )
