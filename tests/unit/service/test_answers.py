from typing import Any

import pytest

from service.answers import Used, used_of
from service.errors import Invalid
from service.schemas.answers import Answer
from service.targets import Target

TARGET = Target(candidates=4, keys=(), shown=[2, 0, 3], rewarded=False)


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ({}, Used(k=3)),
        ({"used_k": 0}, Used(k=0)),
        ({"used_k": 3}, Used(k=3)),
        ({"used": []}, Used(k=0)),
        ({"used": [2]}, Used(k=1)),
        ({"used": [2, 0, 3]}, Used(k=3)),
        ({"used": [0]}, Used(k=1, other=[0])),
        ({"used": [2, 3]}, Used(k=2, other=[2, 3])),
        ({"used": [2, 0, 3, 1]}, Used(k=4, other=[2, 0, 3, 1])),
    ],
)
def test_what_was_used_is_a_prefix_of_what_was_shown_or_it_is_not(said: Any, used: Used):
    assert used_of(Answer(**said), TARGET) == used


@pytest.mark.parametrize("said", [{"used_k": 4}, {"used": [4]}, {"citations": [4]}])
def test_more_than_was_there_cannot_have_been_used(said: Any):
    with pytest.raises(Invalid):
        used_of(Answer(**said), TARGET)


@pytest.mark.parametrize(
    ("said", "used"),
    [({"used_k": 9}, Used(k=9)), ({"used": [2, 0]}, Used(k=2, other=[2, 0]))],
)
def test_before_the_decision_is_there_what_is_said_is_taken_as_it_is(said: Any, used: Used):
    assert used_of(Answer(**said), None) == used
