"""How our own endpoints read a body and write one: unknown fields are refused by name, and nothing is guessed."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A request body: no coercion, no NaN, no unknown field."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def either(one: str, other: str) -> dict[str, Any]:
    """JSON Schema for: exactly one of two fields is given, and is not null."""
    return {
        "anyOf": [
            {
                "required": [given],
                "properties": {given: {"not": {"type": "null"}}, absent: {"type": "null"}},
            }
            for given, absent in ((one, other), (other, one))
        ]
    }


class Out(BaseModel):
    """A response body."""

    model_config = ConfigDict(
        frozen=True, from_attributes=True, use_attribute_docstrings=True, protected_namespaces=()
    )
