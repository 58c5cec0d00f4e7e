"""The shapes on the wire, as pydantic models; each meets the values of `contract` in one method."""
