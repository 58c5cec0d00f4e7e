"""When the same request is worth sending again, and how long to wait first."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

TRANSIENT: Final = frozenset({429, 502, 503, 504})
"""Statuses after which nothing was stored, or storing it again changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Doubling pauses with full jitter. What the service asks for comes first: it is never asked sooner."""

    attempts: int = 4
    """How often a request is sent, the first time included."""
    first_s: float = 0.25
    """The longest pause after the first failure; it doubles with each further one."""
    longest_s: float = 8.0
    """No pause is longer: a service that wants more is given up on."""

    def pause_s(self, attempt: int, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """How long to wait before the next attempt; None where there shall be none.

        attempt: 1 after the first.
        """
        asked_s = retry_after_s(outcome) if isinstance(outcome, httpx.Response) else None
        if attempt >= self.attempts or not _transient(outcome, asked_s):
            return None
        if asked_s is not None:
            return asked_s if asked_s <= self.longest_s else None
        ceiling = min(self.first_s * 2.0 ** (attempt - 1), self.longest_s)
        return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret


def retry_after_s(response: httpx.Response) -> float | None:
    """The Retry-After header, in its seconds or its date form; None where there is none that makes sense."""
    header = response.headers.get("retry-after", "").strip()
    if header.isascii() and header.replace(".", "", 1).isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _transient(outcome: httpx.Response | httpx.RequestError, asked_s: float | None) -> bool:
    if isinstance(outcome, httpx.RequestError):
        # Not what will never work: an address without a scheme, say.
        return not isinstance(outcome, httpx.UnsupportedProtocol)
    # A conflict that names a time is no contradiction: what it waits for is on its way.
    waits = outcome.status_code == httpx.codes.CONFLICT and asked_s is not None
    return waits or outcome.status_code in TRANSIENT
