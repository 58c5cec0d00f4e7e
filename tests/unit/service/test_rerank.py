import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.artifact import Anchor
from contract.records import Candidate
from service.rerank import Asked, falling, fingerprint, first_positions

IDENTITY = Anchor(own=(), base=())
FINITE = st.floats(-1e6, 1e6)


def asked(**changes: Any) -> Asked:
    fields: dict[str, Any] = {
        "tenant": "default",
        "line": None,
        "query": "q",
        "candidates": (Candidate(text="a"), Candidate(text="b", score=1.0)),
        "top_n": None,
        "session": "s",
        "explore": True,
    }
    return Asked(**fields | changes)


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


def test_the_same_text_is_known_by_its_first_position() -> None:
    candidates = [Candidate(text=text) for text in "abaab"]

    assert first_positions(candidates) == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"line": "legal"},
        {"query": "r"},
        {"session": "t"},
        {"explore": False},
        {"candidates": (Candidate(text="b", score=1.0), Candidate(text="a"))},
        {"candidates": (Candidate(text="a"), Candidate(text="b", score=2.0))},
        {"candidates": (Candidate(text="a", key="k"), Candidate(text="b", score=1.0))},
    ],
)
def test_another_request_has_another_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(asked()) != fingerprint(asked(**change))


def test_how_many_are_shown_and_tags_do_not_make_another_request() -> None:
    assert fingerprint(asked()) == fingerprint(asked(top_n=1, tags={"a": "b"}))
