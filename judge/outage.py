"""Whether the LLM is away. Then nobody asks it, and no answer is the worse for it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from judge.llm import LlmFailed
from judge.retries import Backoff

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Outage:
    """What the workers of a process know of their LLM together."""

    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, longest_s=60.0))
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    """Since it last replied."""
    _until: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether it is too early to ask again."""
        return self.clock() < self._until

    def ended(self) -> None:
        """It replied, whatever it said."""
        if self._failures > 1:
            logger.info("llm.back")
        self._failures, self._until = 0, 0.0

    def saw(self, failure: LlmFailed) -> bool:
        """Whether this failure is the LLM's, and not of the answer that it was asked about.

        A call that is too slow or breaks the server may be either: from the second in a row on it is the LLM's.
        """
        if not failure.may_be_away:
            self.ended()
            return False
        self._failures += 1
        self._until = self.clock() + self.backoff.wait_s(self._failures - 1, failure.retry_after)
        is_away = failure.is_surely_away or self._failures > 1
        if is_away:
            logger.warning("llm.away reason=%s", failure)
        return is_away
