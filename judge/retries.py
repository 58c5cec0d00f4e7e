"""How long to wait before the service is asked again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Doubling waits with full jitter."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, attempt: int) -> float:
        """attempt: 0 after the first failure."""
        ceiling = min(self.first_s * 2.0**attempt, self.longest_s)
        return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret
