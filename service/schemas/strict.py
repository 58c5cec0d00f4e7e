"""How our own endpoints read a body: unknown fields are refused by name, and nothing is guessed."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A request body: no coercion, no NaN, no unknown field."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
