from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from judge.replay_queue import Replay


def replay(**changes: Any) -> Replay:
    fields: dict[str, Any] = {
        **{name: str(uuid4()) for name in ("lease_id", "replay_id", "decision_id")},
        "purpose": "pair",
        "query": "How long?",
        "documents": [{"index": index, "text": f"text {index}"} for index in (0, 2, 5)],
        "used": [5, 0],
        "against": [0, 2],
        "reference": None,
        "expires_in_s": 300.0,
        "attempts_left": 4,
    }
    return Replay.model_validate(fields | changes)


def test_texts_are_found_by_their_positions_and_each_is_read_once():
    found = replay()

    assert found.positions == [5, 0, 2]
    assert found.texts(found.used) == ["text 5", "text 0"]
    assert found.texts([]) == []


def test_a_replay_by_itself_has_its_own_documents_alone():
    assert replay(against=None).positions == [5, 0]


def test_a_replay_whose_texts_are_not_all_there_is_none():
    with pytest.raises(ValidationError, match=r"no text of \[7\]"):
        replay(used=[5, 7])
