from typing import Any

import pytest
from pydantic import ValidationError, create_model

from service.schemas.scalars import Id, Json, Position, Time
from service.schemas.strict import Strict

ID = "01890a5d-ac96-7b7c-8f89-37c3d0a66e10"


def is_taken(kind: Any, value: object) -> bool:
    body = create_model("Body", __base__=Strict, field=(kind, ...))
    try:
        body.model_validate({"field": value})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (ID, True),
        (ID.upper(), True),
        (ID.replace("-", ""), False),
        (f"urn:uuid:{ID}", False),
        (f"{{{ID}}}", False),
        (ID + "\n", False),
        (7, False),
    ],
)
def test_an_id_is_written_as_openapi_says(value: object, taken: bool) -> None:  # noqa: FBT001
    assert is_taken(Id, value) == taken


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("2026-01-31T12:00:00Z", True),
        ("2026-01-31t12:00:00.123456789z", True),
        ("2026-01-31T12:00:00-05:30", True),
        ("2026-01-31T12:00:00", False),
        ("2026-01-31T12:00Z", False),
        ("2026-02-30T12:00:00Z", False),
        ("1969-12-31T23:59:59Z", False),
        ("1767225600", False),
        (1767225600, False),
    ],
)
def test_a_time_is_written_as_openapi_says(value: object, taken: bool) -> None:  # noqa: FBT001
    assert is_taken(Time, value) == taken


@pytest.mark.parametrize(
    ("value", "taken"), [(1, True), (1.0, True), (1.5, False), ("1", False), (True, False)]
)
def test_a_whole_number_is_one_however_json_writes_it(value: object, taken: bool) -> None:  # noqa: FBT001
    assert is_taken(Position, value) == taken


def test_json_is_taken_as_deep_as_it_may_be() -> None:
    def nested(depth: int) -> list[Any]:
        return [] if depth == 1 else [nested(depth - 1)]

    assert is_taken(Json, nested(17))
    assert not is_taken(Json, nested(18))
