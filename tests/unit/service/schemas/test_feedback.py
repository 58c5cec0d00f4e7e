import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.schemas.feedback import Feedback

SAID: dict[str, Any] = {
    "decision_id": "0193b3a0-0000-7000-8000-000000000001",
    "name": "thumb",
    "value": 1,
    "source": {"type": "HUMAN", "id": "ann"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize("value", [True, False, 0.0, -3.5, "off topic", "1", ""])
def test_a_value_stays_what_it_is(value: Any):
    said = Feedback.model_validate(SAID | {"value": value})

    assert said.value == value
    assert type(said.value) is type(value)


def test_a_whole_number_is_a_number():
    assert type(Feedback.model_validate(SAID | {"value": 1}).value) is float


@given(st.dictionaries(st.sampled_from([*SAID, "metadata", "judge", "error", "x"]), JSON))
def test_whatever_is_sent_is_refused_or_can_be_stored(changes: dict[str, Any]):
    try:
        said = Feedback.model_validate(SAID | changes)
    except ValidationError:
        return

    stored = json.dumps(said.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)
    stored.encode()
    assert "\\u0000" not in stored.replace("\\\\", "")
