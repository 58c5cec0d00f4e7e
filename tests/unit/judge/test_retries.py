from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from judge.retries import Backoff, seconds


@pytest.mark.parametrize(("header", "waited"), [("7", 7.0), (" 0 ", 0.0), ("1.5", 1.5)])
def test_a_wait_in_seconds_is_honoured(header: str, waited: float):
    assert Backoff().wait_s(0, header) == waited


def test_a_wait_until_a_date_is_honoured():
    later = datetime.now(UTC) + timedelta(seconds=20)

    # The header counts whole seconds.
    assert seconds(format_datetime(later, usegmt=True)) == pytest.approx(20, abs=2)


def test_a_date_in_the_past_is_no_wait():
    assert seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("header", ["", "soon", "-1", "nan", "1e9", "..", "\u00b2"])
def test_a_header_without_sense_is_as_good_as_none(header: str):
    assert seconds(header) is None


def test_nobody_makes_us_wait_for_ever():
    assert Backoff(longest_s=30).wait_s(0, "86400") == 30


def test_waits_double_up_to_the_longest():
    backoff = Backoff(first_s=1, longest_s=4)

    ceilings = [max(backoff.wait_s(attempt) for _ in range(300)) for attempt in range(5)]

    for ceiling, expected in zip(ceilings, [1, 2, 4, 4, 4], strict=True):
        assert 0.9 * expected < ceiling <= expected
