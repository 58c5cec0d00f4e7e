"""From an LLM's reply to a verdict, whatever the model wrapped around its JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

MAX_RATIONALE: Final = 2000


class NoVerdict(Exception):
    """The reply holds no score between 0 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the LLM thinks of one answer."""

    score: float
    """In [0, 1]."""
    rationale: str | None

    @classmethod
    def of_reply(cls, reply: str) -> Self:
        """The last JSON object with a usable score: models think aloud first.  Raises `NoVerdict`."""
        for found in reversed(list(_objects(reply))):
            score = _score(found.get("score"))
            if score is not None:
                return cls(score=score, rationale=_rationale(found.get("rationale")))
        message = f"no score between 0 and 1 in a reply of {len(reply)} characters"
        raise NoVerdict(message)


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in a text."""
    decoder = json.JSONDecoder()
    start = reply.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield found
        start = reply.find("{", end)


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        score = float(value)
    except (ValueError, OverflowError):
        return None
    return score if math.isfinite(score) and 0 <= score <= 1 else None


def _rationale(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Postgres text holds neither NUL nor half a surrogate pair.
    clean = value.replace("\0", "").encode(errors="ignore").decode()
    return clean[:MAX_RATIONALE] or None
