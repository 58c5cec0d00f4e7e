"""How long to wait before somebody is asked again."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Doubling waits with full jitter; what the server asks for comes first."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, attempt: int, retry_after: str | None = None) -> float:
        """attempt: 0 after the first failure.  retry_after: that header of the reply."""
        asked_s = None if retry_after is None else seconds(retry_after)
        if asked_s is not None:
            return min(asked_s, self.longest_s)
        ceiling = min(self.first_s * 2.0**attempt, self.longest_s)
        return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret


def seconds(retry_after: str) -> float | None:
    """From a Retry-After header in its seconds or its date form; None where it makes no sense."""
    header = retry_after.strip()
    if header.replace(".", "", 1).isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
