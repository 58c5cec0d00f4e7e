from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from rankloop.client.retries import Retries, retry_after_s


def refused(status: int, retry_after: str | None = None) -> httpx.Response:
    return httpx.Response(
        status, headers={} if retry_after is None else {"Retry-After": retry_after}
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int):
    assert Retries().pause_s(1, refused(status)) is not None


@pytest.mark.parametrize("status", [200, 202, 207, 400, 401, 404, 409, 410, 413, 422, 500])
def test_what_will_not_pass_is_not(status: int):
    assert Retries().pause_s(1, refused(status)) is None


def test_a_conflict_that_names_a_time_is_tried_again():
    assert Retries().pause_s(1, refused(409, "1")) == 1


def test_a_lost_connection_is_tried_again_and_an_impossible_address_is_not():
    assert Retries().pause_s(1, httpx.ReadError("gone")) is not None
    assert Retries().pause_s(1, httpx.UnsupportedProtocol("no scheme")) is None


@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_is_what_the_service_asks_for(status: int):
    assert Retries(first_s=0.001).pause_s(1, refused(status, "2")) == 2


def test_a_service_that_wants_more_than_the_longest_pause_is_given_up_on():
    assert Retries(longest_s=8).pause_s(1, refused(429, "9")) is None
    assert Retries(longest_s=8).pause_s(1, refused(429, "8")) == 8


def test_the_last_attempt_has_none_after_it():
    assert Retries(attempts=2).pause_s(1, refused(429, "0")) == 0
    assert Retries(attempts=2).pause_s(2, refused(429, "0")) is None
    assert Retries(attempts=1).pause_s(1, refused(429, "0")) is None


def test_pauses_double_up_to_the_longest():
    retries = Retries(attempts=9, first_s=1, longest_s=4)

    # The largest of 300 uniform draws reaches 0.9 of the ceiling but once in 10^13 tries.
    ceilings = [
        max(retries.pause_s(attempt, refused(503)) or 0 for _ in range(300))
        for attempt in range(1, 6)
    ]

    for ceiling, expected in zip(ceilings, [1, 2, 4, 4, 4], strict=True):
        assert 0.9 * expected < ceiling <= expected


def test_a_date_is_a_pause_until_then():
    later = datetime.now(UTC) + timedelta(seconds=20)

    # The header counts whole seconds.
    assert retry_after_s(refused(429, format_datetime(later, usegmt=True))) == pytest.approx(
        20, abs=2
    )


def test_a_date_in_the_past_is_no_pause():
    assert retry_after_s(refused(429, "Wed, 21 Oct 2015 07:28:00 GMT")) == 0


@pytest.mark.parametrize("header", ["", "soon", "-1", "nan", "1e9", ".."])
def test_a_header_without_sense_is_as_good_as_none(header: str):
    assert retry_after_s(refused(429, header)) is None
