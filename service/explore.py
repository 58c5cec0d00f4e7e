"""How a request is ranked: by the best score, or now and then by a draw whose odds are known exactly.

The coin knows nothing of the request. Where it could not have been tossed (`explore: never`, no exploration set, the
day's budget spent) the decision says so and never trains.
"""

from datetime import date, datetime

import numpy as np

from contract import policy
from contract.plackett_luce import Logits
from contract.policy import Choice, Policy
from contract.records import NotLearnable
from service.settings import ServiceSettings


class Budget:
    """Explored requests a day, counted by this replica in memory: a restart begins anew."""

    def __init__(self, daily: int | None) -> None:
        self._daily = daily
        self._day: date | None = None
        self._spent = 0

    def is_spent(self, now: datetime) -> bool:
        if now.date() != self._day:
            self._day, self._spent = now.date(), 0
        return self._daily is not None and self._spent >= self._daily

    def spend(self) -> None:
        self._spent += 1


class Explorer:
    """The serving rule with the service's settings."""

    def __init__(self, settings: ServiceSettings, *, rng: np.random.Generator) -> None:
        self._settings = settings
        self._rng = rng
        self._budget = Budget(settings.service_explore_budget_daily)

    def choose(
        self, logits: Logits, *, temperature: float, explore: bool, now: datetime
    ) -> tuple[Policy, Choice, NotLearnable | None]:
        """Ranks every candidate; a shorter answer is a prefix of it.

        logits: (n,) in request order, finite.
        """
        reason = self._no_support(explore=explore, now=now)
        rule = Policy(
            epsilon=self._settings.service_epsilon if reason is None else 0.0,
            temperature=temperature,
            sampled=min(self._settings.service_sampled, len(logits)),
            max_fall=self._settings.service_max_fall,
        )
        choice = policy.choose(logits, rule, self._rng, top_n=len(logits))
        if choice.explored:
            self._budget.spend()
        return rule, choice, reason

    def _no_support(self, *, explore: bool, now: datetime) -> NotLearnable | None:
        if not explore:
            return NotLearnable.EXPLORE_NEVER
        if self._settings.service_epsilon == 0:
            return NotLearnable.NO_EXPLORATION
        if self._budget.is_spent(now):
            return NotLearnable.BUDGET_SPENT
        return None
