from math import log2, sqrt

import numpy as np
import pytest

from contract.first_stage import features, first_positions, of_candidates
from contract.records import Candidate


def test_the_first_stage_order_becomes_two_falling_curves():
    rows = features([None, None, None])

    assert rows[:, 0] == pytest.approx([1, 1 / 2, 1 / 3])
    assert rows[:, 1] == pytest.approx([1 / log2(2), 1 / log2(3), 1 / log2(4)])
    assert rows[:, 2].tolist() == [0, 0, 0]


def test_scores_are_standardised_over_the_candidates_that_have_one():
    rows = features([3.0, None, 1.0])

    assert rows[:, 2].tolist() == [1, 0, -1]


def test_the_scale_of_the_first_stage_does_not_matter():
    scores = [3.0, 1.0, 2.0, 2.5]

    assert features([7 + 100 * s for s in scores]) == pytest.approx(features(scores), abs=1e-6)


def test_equal_scores_say_nothing():
    assert features([2.0, 2.0])[:, 2].tolist() == [0, 0]


def test_an_outlier_is_cut():
    # One of n values differs: its standard score is sqrt(n - 1), here sqrt(24) > 4.
    assert sqrt(24) > 4
    assert features([1.0] + [0.0] * 24)[0, 2] == 4


@pytest.mark.parametrize("scores", [[1e308, -1e308, None], [1.7e308] * 2, [5e-324, 0.0], []])
def test_extreme_scores_stay_finite(scores):
    rows = features(scores)

    assert rows.shape == (len(scores), 3)
    assert np.isfinite(rows).all()


def test_a_text_that_comes_again_has_the_row_of_its_first_position():
    sent = [("old", 3.0), ("new", 1.0), ("old", 2.0)]

    rows = of_candidates([Candidate(text=text, score=score) for text, score in sent])

    expected = features([3.0, 1.0, 2.0])
    assert rows.tolist() == [expected[0].tolist(), expected[1].tolist(), expected[0].tolist()]


def test_no_candidates_have_no_rows():
    assert of_candidates([]).shape == (0, 3)


def test_the_same_text_is_known_by_its_first_position():
    assert first_positions([Candidate(text=text) for text in "abaab"]) == [0, 1, 0, 0, 1]
