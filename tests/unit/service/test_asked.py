from typing import Any

import pytest

from contract.records import Candidate
from service.asked import Asked, fingerprint


def asked(**changes: Any) -> Asked:
    fields: dict[str, Any] = {
        "tenant": "default",
        "line": None,
        "query": "q",
        "candidates": (Candidate(text="a"), Candidate(text="b", score=1.0)),
        "top_n": None,
        "session": "s",
        "explore": True,
    }
    return Asked(**fields | changes)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"line": "legal"},
        {"query": "r"},
        {"session": "t"},
        {"explore": False},
        {"candidates": (Candidate(text="b", score=1.0), Candidate(text="a"))},
        {"candidates": (Candidate(text="a"), Candidate(text="b", score=2.0))},
        {"candidates": (Candidate(text="a", key="k"), Candidate(text="b", score=1.0))},
    ],
)
def test_another_request_has_another_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(asked()) != fingerprint(asked(**change))


def test_how_many_are_shown_and_tags_do_not_make_another_request() -> None:
    assert fingerprint(asked()) == fingerprint(asked(top_n=1, tags={"a": "b"}))
