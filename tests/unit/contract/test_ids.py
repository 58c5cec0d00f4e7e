from datetime import UTC, datetime, timedelta
from uuid import UUID

from contract.ids import is_ours, mint, minted_at

SECRET = b"a secret of the tests"
NOW = datetime(2026, 11, 24, 12, 0, 0, 123_000, tzinfo=UTC)


def test_an_id_is_a_version_7_uuid_that_carries_its_time():
    decision_id = mint("acme", secret=SECRET, now=NOW)

    assert (decision_id.version, decision_id.variant) == (7, UUID(int=2 << 62).variant)
    assert minted_at(decision_id) == NOW


def test_ids_sort_by_time():
    later = mint("acme", secret=SECRET, now=NOW + timedelta(milliseconds=1))

    assert mint("acme", secret=SECRET, now=NOW) < later


def test_an_id_is_ours_for_its_own_tenant_and_secret_alone():
    decision_id = mint("acme", secret=SECRET, now=NOW)

    assert is_ours(decision_id, "acme", secret=SECRET)
    assert not is_ours(decision_id, "other", secret=SECRET)
    assert not is_ours(decision_id, "acme", secret=b"another secret")


def test_no_single_changed_bit_is_ours():
    decision_id = mint("acme", secret=SECRET, now=NOW)

    changed = [UUID(int=decision_id.int ^ (1 << bit)) for bit in range(128)]

    assert not any(is_ours(other, "acme", secret=SECRET) for other in changed)


def test_a_thousand_ids_of_one_millisecond_are_distinct():
    assert len({mint("acme", secret=SECRET, now=NOW) for _ in range(1000)}) == 1000
