from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from service import feedback_token
from service.feedback_token import Grant

SECRET = b"of nothing"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DECISION = UUID("01936000-0000-7000-8000-000000000000")


def mint(decision_id: UUID = DECISION, tenant: str = "acme", lasts_s: float = 60) -> str:
    expires_at = NOW + timedelta(seconds=lasts_s)
    return feedback_token.mint(decision_id, tenant, secret=SECRET, expires_at=expires_at)


def verify(token: str, now: datetime = NOW) -> Grant | None:
    return feedback_token.verify(token, secret=SECRET, now=now)


@pytest.mark.parametrize("tenant", ["a", "default", "x" * 64])
def test_a_token_says_which_decision_of_which_tenant(tenant: str):
    decision_id = uuid4()

    assert verify(mint(decision_id, tenant)) == Grant(decision_id=decision_id, tenant=tenant)


def test_it_is_good_for_a_header_and_a_url():
    token = mint()

    assert token.startswith("rlf_")
    assert token.replace("_", "").replace("-", "").isalnum()


def test_it_ends():
    token = mint(lasts_s=60)

    assert verify(token, NOW + timedelta(seconds=59)) is not None
    assert verify(token, NOW + timedelta(seconds=60)) is None


def test_under_another_secret_it_is_nothing():
    assert feedback_token.verify(mint(), secret=b"another", now=NOW) is None


def test_no_letter_of_it_can_be_changed():
    token = mint()
    # The last letter carries bits that decode to nothing, so that several spell the same token.
    places = range(len(feedback_token.PREFIX), len(token) - 1)

    changed = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        for place in places
    ]

    assert [verify(each) for each in changed] == [None] * len(places)


@pytest.mark.parametrize("token", ["", "rlf_", "rlf_A", "rlf_ü", "rlf_" + "A" * 200, "rlf_?"])
def test_nonsense_is_no_token(token: str):
    assert verify(token) is None
