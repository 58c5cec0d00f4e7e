import hashlib
import hmac
import json
from dataclasses import replace

import pytest

from contract.pointer import Keys, Live, PointerForged

SECRET = b"a secret of the tests"
LIVE = Live(line="default", epoch=3, version="ab" * 32)


def test_a_signed_state_reads_back():
    assert Live.of_signed(LIVE.signed(secret=SECRET), secret=SECRET) == LIVE


def test_a_state_with_a_canary_reads_back_and_one_without_says_nothing_of_it():
    canary = LIVE.then(LIVE.version, canary_version="cd" * 32, canary_share=0.1)

    assert Live.of_signed(canary.signed(secret=SECRET), secret=SECRET) == canary
    assert "canary" not in LIVE.signed(secret=SECRET)
    assert canary.then(LIVE.version) == Live(line="default", epoch=5, version=LIVE.version)


HELD_BACK = replace(LIVE, hold_back_version="ef" * 32, hold_back_share=0.02)


def test_a_state_with_a_hold_back_reads_back_and_one_without_says_nothing_of_it():
    assert Live.of_signed(HELD_BACK.signed(secret=SECRET), secret=SECRET) == HELD_BACK
    assert "hold_back" not in LIVE.signed(secret=SECRET)


def test_a_state_from_before_there_were_hold_backs_is_read():
    body = json.dumps({"epoch": 3, "line": "default", "version": "ab" * 32})
    signature = hmac.new(SECRET, b"rankloop pointer" + body.encode(), hashlib.sha256).hexdigest()

    assert Live.of_signed(json.dumps({"live": body, "signature": signature}), secret=SECRET) == LIVE


def test_a_hold_back_goes_on_whatever_is_promoted_and_rests_while_the_base_serves():
    canary = HELD_BACK.then(LIVE.version, canary_version="cd" * 32, canary_share=0.1)
    promoted, base = canary.then("cd" * 32), canary.then("ef" * 32)

    told = [(live.hold_back_version, live.hold_back_share) for live in (canary, promoted, base)]
    assert told == [("ef" * 32, 0.02)] * 3
    assert [live.held_back for live in (canary, promoted, base)] == ["ef" * 32, "ef" * 32, None]


def test_a_state_that_somebody_else_signed_is_refused():
    with pytest.raises(PointerForged):
        Live.of_signed(LIVE.signed(secret=b"not the secret"), secret=SECRET)


def test_a_state_whose_version_was_changed_is_refused():
    document = LIVE.signed(secret=SECRET).replace("ab" * 32, "cd" * 32)

    with pytest.raises(PointerForged):
        Live.of_signed(document, secret=SECRET)


@pytest.mark.parametrize(
    "document",
    ["", "{}", "[]", "null", "not json", json.dumps({"live": 1, "signature": 2}), "\ud800"],
)
def test_anything_else_is_refused(document):
    with pytest.raises(PointerForged):
        Live.of_signed(document, secret=SECRET)


def test_the_keys_of_a_line_share_one_slot_of_a_cluster():
    keys = Keys.of("default")

    assert {keys.state, keys.events, keys.wake} == {
        "{rankloop:default}:state",
        "{rankloop:default}:events",
        "{rankloop:default}:wake",
    }
