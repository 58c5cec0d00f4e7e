import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.artifact import Anchor
from service.places import falling

IDENTITY = Anchor(own=(), base=())
FINITE = st.floats(-1e6, 1e6)


def test_relevance_is_the_sigmoid_of_the_sorted_logits() -> None:
    first, second = falling(IDENTITY, np.array([-1.0, 2.0]))

    assert first == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert second == pytest.approx(1 / (1 + math.exp(1.0)))


def test_equal_scores_fall_by_a_hair() -> None:
    first, second, third = falling(IDENTITY, np.zeros(3))

    assert first == 0.5
    assert second == math.nextafter(0.5, 0.0)
    assert third == math.nextafter(second, 0.0)


@pytest.mark.parametrize("logit", [1e9, -1e9])
def test_scores_that_saturate_still_fall_inside_of_0_and_1(logit: float) -> None:
    values = falling(IDENTITY, np.full(1000, logit))

    assert all(better > worse for better, worse in pairwise(values))
    assert values[0] <= 1
    assert values[-1] > 0


@given(st.lists(FINITE, min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_relevance_falls_strictly_whatever_the_order(logits: list[float], random: Any) -> None:
    values = falling(IDENTITY, np.array(logits))
    random.shuffle(logits)

    assert all(better > worse for better, worse in pairwise(values))
    assert falling(IDENTITY, np.array(logits)) == values


def test_scores_are_anchored_to_the_base() -> None:
    twice = Anchor(own=(0.0, 2.0), base=(0.0, 1.0))

    assert falling(twice, np.array([1.0])) == pytest.approx((1 / (1 + math.exp(-0.5)),))
