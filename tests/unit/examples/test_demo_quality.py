import pytest

from examples.demo.application import Answered
from examples.demo.quality import by_group, compare, interval, mean
from examples.demo.worlds import Ask


def answered(name: str, quality: float, *, cluster: str = "c", group: str = "seen") -> Answered:
    ask = Ask(
        id=name,
        text=name,
        documents=(),
        gold=frozenset(),
        answers=(),
        cluster=cluster,
        group=group,
    )
    return Answered(ask=ask, decision_id="d", version="v", used=(), answer="", quality=quality)


def test_answers_are_compared_question_by_question() -> None:
    start = [answered("a", 0.0, cluster="x"), answered("b", 1.0, cluster="y")]
    final = [answered("b", 1.0, cluster="y"), answered("a", 1.0, cluster="x")]

    comparison = compare(start, final, seed=0)

    assert (comparison.start, comparison.final, comparison.gain) == (0.5, 1.0, 0.5)
    assert (comparison.questions, comparison.clusters) == (2, 2)


def test_a_question_that_one_side_did_not_answer_is_left_out() -> None:
    start = [answered("a", 0.0), answered("b", 0.0)]

    assert compare(start, [answered("a", 1.0)], seed=0).questions == 1


def test_the_interval_of_a_constant_gain_is_that_gain() -> None:
    assert interval([[0.25, 0.25], [0.25]], seed=0) == pytest.approx((0.25, 0.25))


def test_the_interval_is_wider_when_values_come_in_clusters() -> None:
    values = [1.0] * 20 + [0.0] * 20
    alone = interval([[value] for value in values], seed=0)
    clustered = interval([values[i : i + 10] for i in range(0, 40, 10)], seed=0)

    assert clustered[1] - clustered[0] > 1.5 * (alone[1] - alone[0])


def test_the_interval_covers_a_mean_of_independent_values_as_the_normal_one_does() -> None:
    values = [float(i % 2) for i in range(400)]
    half_width = 1.96 * 0.5 / 400**0.5

    low, high = interval([[value] for value in values], seed=0)

    # 5,000 resamples leave about 2 % of noise in a quantile.
    assert (0.5 - low, high - 0.5) == pytest.approx((half_width, half_width), rel=0.1)


def test_groups_are_reported_apart() -> None:
    groups = by_group([answered("a", 1.0), answered("b", 0.0, group="unseen")])

    assert {name: mean(members) for name, members in groups.items()} == {"seen": 1, "unseen": 0}
