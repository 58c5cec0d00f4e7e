from contextlib import ExitStack

import pytest

from service.backlog import STRETCH, Backlog, Pace
from service.errors import Overloaded
from service.metrics import Metrics


class Model:
    """Of whose tokens only the pace matters."""


MODEL = Model()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def pace() -> Pace:
    """A thousand tokens a second."""
    pace = Pace()
    pace.ran(MODEL, tokens=500, seconds=0.5)
    return pace


def backlog(
    metrics: Metrics, pace: Pace, *, max_tokens: int = 10**9, max_wait_s: float = 10.0
) -> Backlog:
    """At the time 100."""
    return Backlog(metrics, pace, max_tokens=max_tokens, max_wait_s=max_wait_s, clock=lambda: 100.0)


def test_the_pace_is_that_of_the_latest_runs_by_their_tokens(pace: Pace) -> None:
    assert pace.seconds(MODEL, 3000) == pytest.approx(3.0)

    pace.ran(MODEL, tokens=1500, seconds=0.5)

    # 500 tokens count 5 % of 95 %, 1,500 count 5 %: (.475 + .5) s for 475 + 1500 tokens.
    assert pace.seconds(MODEL, 3000) == pytest.approx(3000 * 0.975 / 1975)


def test_the_pace_of_a_new_model_is_that_of_all_until_it_has_run(pace: Pace) -> None:
    other = Model()
    assert pace.seconds(other, 1000) == pytest.approx(1.0)

    pace.ran(other, tokens=1000, seconds=4.0)

    assert pace.seconds(other, 1000) == pytest.approx(4.0)
    assert pace.seconds(MODEL, 1000) == pytest.approx(1.0)


def test_before_the_first_run_a_larger_request_takes_longer_already() -> None:
    assert Pace().seconds(MODEL, 2000) == 2 * Pace().seconds(MODEL, 1000) > 0


def test_a_request_is_due_twelve_times_as_late_as_alone_and_dead_ten_seconds_later(
    metrics: Metrics, pace: Pace
) -> None:
    with backlog(metrics, pace).admitted(MODEL, 2000) as ticket:
        assert ticket.due_at == pytest.approx(100 + STRETCH * 2)
        assert ticket.deadline_at == pytest.approx(134)


def test_a_client_that_waits_less_is_due_in_time(metrics: Metrics, pace: Pace) -> None:
    with backlog(metrics, pace).admitted(MODEL, 2000, waits_until=105) as ticket:
        # Which takes two seconds.
        assert ticket.due_at == pytest.approx(103)
        assert ticket.deadline_at == 105


def test_a_client_that_waits_longer_gets_no_more_time(metrics: Metrics, pace: Pace) -> None:
    with backlog(metrics, pace).admitted(MODEL, 2000, waits_until=999) as ticket:
        assert ticket.deadline_at == pytest.approx(134)


def test_a_full_backlog_refuses_and_room_comes_back(metrics: Metrics) -> None:
    full = backlog(metrics, Pace(), max_tokens=100)

    with full.admitted(MODEL, 50):
        with full.admitted(MODEL, 50), pytest.raises(Overloaded), full.admitted(MODEL, 50):
            pass
        with full.admitted(MODEL, 50):
            assert metrics.registry.get_sample_value("rankloop_queued_tokens") == 100

    assert metrics.registry.get_sample_value("rankloop_queued_tokens") == 0
    assert metrics.registry.get_sample_value("rankloop_overloaded_total") == 1


def test_a_large_request_that_waits_is_in_no_small_ones_way(metrics: Metrics, pace: Pace) -> None:
    some = backlog(metrics, pace, max_tokens=1000)

    with (
        some.admitted(MODEL, 5000),
        some.admitted(MODEL, 400),
        some.admitted(MODEL, 400),
        pytest.raises(Overloaded),
        some.admitted(MODEL, 400),
    ):
        pass


def test_an_idle_service_takes_a_request_of_any_size(metrics: Metrics, pace: Pace) -> None:
    with backlog(metrics, pace, max_tokens=100).admitted(MODEL, 5000, waits_until=101) as ticket:
        assert ticket.tokens == 5000
        assert metrics.registry.get_sample_value("rankloop_expected_wait_seconds") == 5


def test_what_was_scored_and_not_yet_answered_is_no_work_that_waits(
    metrics: Metrics, pace: Pace
) -> None:
    idle = backlog(metrics, pace, max_tokens=100)

    with idle.admitted(MODEL, 5000) as ticket:
        ticket.tokens = 0
        with idle.admitted(MODEL, 5000):
            pass


@pytest.mark.parametrize(("tokens", "seconds"), [(9000, 4), (5500, 1), (5001, 1)])
def test_what_would_miss_its_deadline_is_told_when_it_would_not(
    metrics: Metrics, pace: Pace, tokens: int, seconds: int
) -> None:
    some = backlog(metrics, pace)

    # All of it is due before the new one, which takes a second and whose client waits for six.
    with (
        some.admitted(MODEL, tokens, waits_until=100),
        pytest.raises(Overloaded) as refused,
        some.admitted(MODEL, 1000, waits_until=106),
    ):
        pass

    assert refused.value.retry_after_s == seconds


def test_what_would_be_done_just_in_time_is_let_in(metrics: Metrics, pace: Pace) -> None:
    some = backlog(metrics, pace)

    with some.admitted(MODEL, 5000, waits_until=100), some.admitted(MODEL, 1000, waits_until=106):
        pass


def test_what_fits_only_alone_is_told_when_nothing_waits(metrics: Metrics, pace: Pace) -> None:
    some = backlog(metrics, pace)

    with (
        some.admitted(MODEL, 2500),
        pytest.raises(Overloaded) as refused,
        some.admitted(MODEL, 60_000, waits_until=101),
    ):
        pass

    # 2.5 seconds of work.
    assert refused.value.retry_after_s == 3


def test_what_was_let_in_is_not_given_up_for_what_is_due_before_it(
    metrics: Metrics, pace: Pace
) -> None:
    some = backlog(metrics, pace, max_wait_s=0.0)

    # Each takes a second and is due in twelve: there is room for twelve of them.
    with ExitStack() as inside:
        for _ in range(12):
            inside.enter_context(some.admitted(MODEL, 1000))
        # It would be the first, and the last of the twelve half a second late.
        with pytest.raises(Overloaded) as refused, some.admitted(MODEL, 500):
            pass

    assert refused.value.retry_after_s == 1


def test_what_is_too_late_as_it_is_holds_up_nobody(metrics: Metrics, pace: Pace) -> None:
    some = backlog(metrics, pace, max_wait_s=0.0)

    with some.admitted(MODEL, 10_000, waits_until=105) as ticket:
        ticket.due_at = 105
        with some.admitted(MODEL, 100):
            pass
