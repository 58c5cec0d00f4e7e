import hashlib
from typing import Any
from uuid import UUID

import pytest

from service.schemas import bodies
from service.schemas.answers import Answer
from service.schemas.feedback import Feedback

SAID: dict[str, Any] = {
    "decision_id": "0193b3a0-0000-7000-8000-000000000001",
    "name": "thumb",
    "value": 1,
    "source": {"type": "HUMAN", "id": "ann"},
    "metadata": {"a": 1, "b": [None, "x"]},
    "occurred_at": "2026-11-24T12:00:00Z",
}


def digest(**changes: Any) -> bytes:
    return bodies.sha256(Feedback.model_validate(SAID | changes))


@pytest.mark.parametrize(
    "spelling",
    [
        dict(reversed(SAID.items())),
        {"value": 1.0},
        {"metadata": {"b": [None, "x"], "a": 1}},
        {"decision_id": SAID["decision_id"].upper()},
        {"rationale": None},
    ],
)
def test_another_spelling_of_the_same_is_the_same(spelling: dict[str, Any]):
    assert digest(**spelling) == digest()


@pytest.mark.parametrize(
    "meaning",
    [
        {"value": True},
        {"value": "1"},
        {"value": 1.0000001},
        {"metadata": {"a": 1}},
        {"decision_id": str(UUID(int=7))},
        {"occurred_at": "2026-11-24T12:00:01Z"},
        {"rationale": "because"},
    ],
)
def test_another_meaning_is_another_body(meaning: dict[str, Any]):
    assert digest(**meaning) != digest()


def test_an_answer_without_the_right_one_is_the_body_that_it_was_before_there_were_any():
    fields = ("citations", "latency_ms", "model", "occurred_at", "prompt_version", "text", "used")
    before = "{" + "".join(f'"{name}": null, ' for name in fields) + '"used_k": 2}'

    assert bodies.sha256(Answer(used_k=2)) == hashlib.sha256(before.encode()).digest()
    assert bodies.sha256(Answer(used_k=2, reference="")) != bodies.sha256(Answer(used_k=2))
