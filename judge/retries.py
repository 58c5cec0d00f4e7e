"""When to ask again, and how long to wait first."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

TRANSIENT: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Doubling waits with full jitter; what the server asks for comes first."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, attempt: int, response: httpx.Response | None = None) -> float:
        """attempt: 0 after the first failure."""
        asked_s = None if response is None else retry_after_s(response)
        if asked_s is not None:
            return min(asked_s, self.longest_s)
        ceiling = min(self.first_s * 2.0**attempt, self.longest_s)
        return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret


def retry_after_s(response: httpx.Response) -> float | None:
    """The Retry-After header, in its seconds or its date form; None where there is none that makes sense."""
    header = response.headers.get("retry-after", "").strip()
    if header.replace(".", "", 1).isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
