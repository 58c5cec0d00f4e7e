import re
from datetime import UTC, datetime, timedelta

import pytest

from service import keys
from service.keys import ApiKey, KeyRecord

PEPPER = b"of nothing"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def record(key: ApiKey, expires_at: datetime | None = None) -> KeyRecord:
    return KeyRecord(
        key_id=key.key_id,
        tenant="acme",
        scopes=frozenset({"rerank"}),
        secret_hmac=key.digest(PEPPER),
        expires_at=expires_at,
    )


def test_a_key_reads_back_as_it_was_made():
    key = keys.mint()

    assert re.fullmatch(r"rl_[0-9a-f]{12}_[0-9a-f]{64}", key.text)
    assert keys.parse(key.text) == key


@pytest.mark.parametrize(
    "text", ["", "rl_", "rl_1_2", "sk-" + "0" * 64, "rl_" + "G" * 12 + "_" + "0" * 64]
)
def test_what_has_another_form_is_no_key(text: str):
    assert keys.parse(text) is None


def test_a_trailing_newline_is_no_part_of_a_key():
    assert keys.parse(keys.mint().text + "\n") is None


def test_no_two_keys_are_alike():
    assert len({keys.mint().text for _ in range(1000)}) == 1000


def test_the_secret_is_not_printed():
    key = keys.mint()

    assert key.secret not in repr(key)


def test_a_record_admits_its_own_key_alone():
    key, other = keys.mint(), keys.mint()
    same_id = ApiKey(key_id=key.key_id, secret=other.secret)

    admitted = [record(key).admits(each, pepper=PEPPER, now=NOW) for each in (key, other, same_id)]

    assert admitted == [True, False, False]


def test_under_another_secret_of_the_service_no_key_works():
    key = keys.mint()

    assert not record(key).admits(key, pepper=b"another", now=NOW)


def test_a_digest_means_nothing_in_the_row_of_another_key():
    key = keys.mint()
    renamed = ApiKey(key_id="0" * 12, secret=key.secret)

    assert renamed.digest(PEPPER) != key.digest(PEPPER)


def test_a_key_works_until_it_expires():
    key = keys.mint()
    own = record(key, expires_at=NOW)
    before = NOW - timedelta(microseconds=1)

    assert own.admits(key, pepper=PEPPER, now=before)
    assert not own.admits(key, pepper=PEPPER, now=NOW)
