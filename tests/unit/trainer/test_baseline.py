import numpy as np
import pytest

from trainer import baseline


def expected(known, rewards, folds, greedy=None):
    everything = np.ones(len(rewards), dtype=bool)
    return baseline.expected(
        known,
        np.asarray(rewards, dtype=float),
        greedy=everything if greedy is None else greedy,
        folds=np.asarray(folds),
    )


def test_a_query_never_informs_its_own_expectation():
    rng = np.random.default_rng(3)
    known, rewards = rng.normal(size=(200, 6)), rng.random(200)
    folds = np.arange(200) % 5
    turned = np.where(folds == 2, 1 - rewards, rewards)

    before, after = expected(known, rewards, folds), expected(known, turned, folds)

    assert after[folds == 2] == pytest.approx(before[folds == 2])
    assert not np.allclose(after[folds != 2], before[folds != 2])


def test_what_was_known_explains_the_reward():
    rng = np.random.default_rng(3)
    known = rng.normal(size=(500, 2))
    rewards = (0.5 + 0.2 * known[:, 0]).clip(0, 1)

    predicted = expected(known, rewards, np.arange(500) % 5)

    # Explained by one feature: what is left is the clipping.
    assert np.abs(predicted - rewards).mean() < 0.02


def test_few_answers_expect_the_mean_of_the_others():
    predicted = expected([[0.0], [1.0], [2.0]], [0.0, 0.6, 1.0], [0, 1, 2])

    assert predicted == pytest.approx([(0.6 + 1.0) / 2, 1.0 / 2, 0.6 / 2])


def test_nobody_else_to_ask_is_ignorance():
    assert expected([[1.0]], [1.0], [0]) == pytest.approx([0.5])


def test_with_enough_greedy_answers_exploration_does_not_lower_what_is_expected():
    greedy = np.arange(300) % 3 != 0
    rewards = np.where(greedy, 0.8, 0.1)

    predicted = expected(np.zeros((300, 1)), rewards, np.arange(300) // 3 % 5, greedy)

    assert predicted == pytest.approx(0.8)


def test_features_are_of_the_scores_and_not_of_the_order():
    one = baseline.features(np.array([2.0, 0.0, 1.0]), query="why")
    other = baseline.features(np.array([0.0, 1.0, 2.0]), query="how")

    assert one == pytest.approx(other)
    assert one[:2] == [2.0, 1.0]  # the best, and its margin


def test_a_single_candidate_has_no_margin_and_no_entropy():
    known = baseline.features(np.array([3.0]), query="")

    assert known == pytest.approx([3.0, 0.0, 0.0, 0.0, 0.0, 0.0])
