from math import log2

import pytest

from examples.demo.grading import NOT_STATED, discounted_containment, first_contained


def test_the_first_text_that_contains_an_answer_answers() -> None:
    used = ["Nothing here.", "It takes 14 days.", "It takes 30 days."]

    assert first_contained(used, ["30 days", "14 days"]) == "14 days"


def test_without_the_answer_in_any_text_nothing_is_stated() -> None:
    assert first_contained(["Nothing here."], ["14 days"]) == NOT_STATED


@pytest.mark.parametrize(("place", "worth"), [(1, 1.0), (2, 1 / log2(3)), (3, 1 / 2)])
def test_containment_is_worth_less_further_down(place: int, worth: float) -> None:
    used = ["Nothing."] * (place - 1) + ["In Paris, then."]

    assert discounted_containment(used, ["Paris"]) == pytest.approx(worth)


def test_containment_is_worth_nothing_where_no_text_contains_an_answer() -> None:
    assert discounted_containment(["Lyon."], ["Paris"]) == 0


def test_an_answer_is_contained_as_words_and_not_as_letters() -> None:
    assert discounted_containment(["Comparison"], ["Paris"]) == 0


def test_an_empty_answer_is_contained_nowhere() -> None:
    assert discounted_containment(["Paris"], ["the"]) == 0
