"""An OpenAI-compatible API, what it is asked with, and what it charges."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pydantic import JsonValue, SecretStr

LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""Parameters that bound a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One of those that a judge calls: who judges, or who answers."""

    url: str
    """Up to its `/v1`."""
    model: str
    key: SecretStr | None
    params: Mapping[str, JsonValue]
    """Of each call."""
    prompt_price: Decimal
    """Of a million tokens that it reads."""
    completion_price: Decimal
    """Of a million tokens that it writes."""
    timeout_s: float
    """For one call."""
    attempts: int
    """Calls for one reply, the first included."""
    calls_per_minute: float

    @property
    def completion_limit(self) -> int:
        """Tokens of a reply at most, as the parameters say it; 0 where they do not."""
        limits = (self.params.get(name) for name in LIMITS)
        return max((limit for limit in limits if isinstance(limit, int)), default=0)

    @property
    def has_price(self) -> bool:
        return bool(self.prompt_price or self.completion_price)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """In picos: a price for a million tokens is as many millionths for one."""
        return int(
            prompt_tokens * self.prompt_price * 10**6
            + completion_tokens * self.completion_price * 10**6
        )
