"""What pydantic refuses, on one line."""

from pydantic import ValidationError


def in_words(error: ValidationError) -> str:
    """Each field with what is wrong with it; never the value, which may be a secret."""
    found = [
        (".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_input=False)
    ]
    return "; ".join(f"{where}: {what}" if where else what for where, what in found)
