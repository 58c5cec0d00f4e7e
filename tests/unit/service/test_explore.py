from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import policy
from contract.records import NotLearnable
from service.explore import Budget, Explorer
from tests import serving

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LOGITS = np.array([0.0, 1.0, 3.0, 2.0])


@pytest.fixture
def explorer(tmp_path: Path, request: Any) -> Explorer:
    settings = serving.settings(tmp_path, **getattr(request, "param", {}))
    return Explorer(settings, rng=np.random.default_rng(7))


def settings(**values: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("explorer", [values], indirect=True)


@settings(service_epsilon=0.5, service_sampled=3, service_max_fall=2)
def test_the_rule_is_the_settings_with_the_models_temperature(explorer: Explorer) -> None:
    rule, choice, reason = explorer.choose(LOGITS, temperature=0.7, explore=True, now=NOON)

    assert (rule.epsilon, rule.temperature, rule.sampled, rule.max_fall) == (0.5, 0.7, 3, 2)
    assert reason is None
    assert sorted(choice.shown.tolist()) == [0, 1, 2, 3]
    again = policy.log_propensity(LOGITS, choice.shown, rule)
    assert choice.cum_log_propensity.tolist() == again.tolist()


@settings(service_epsilon=0.5)
def test_no_more_take_part_than_there_are(explorer: Explorer) -> None:
    rule, _, _ = explorer.choose(LOGITS, temperature=1.0, explore=True, now=NOON)

    assert rule.sampled == len(LOGITS)


@settings(service_epsilon=0.3)
def test_about_epsilon_of_the_requests_explore(explorer: Explorer) -> None:
    explored = [
        explorer.choose(LOGITS, temperature=1.0, explore=True, now=NOON)[1].explored
        for _ in range(2000)
    ]

    # Five standard deviations of a share over 2000 coins: 5 sqrt(.3 * .7 / 2000) = .051
    assert np.mean(explored) == pytest.approx(0.3, abs=0.051)


@settings(service_epsilon=1.0)
def test_who_asks_for_no_exploration_gets_the_best_with_certainty(explorer: Explorer) -> None:
    rule, choice, reason = explorer.choose(LOGITS, temperature=1.0, explore=False, now=NOON)

    assert choice.shown.tolist() == [2, 3, 1, 0]
    assert choice.cum_log_propensity.tolist() == [0, 0, 0, 0]
    assert (rule.epsilon, reason) == (0.0, NotLearnable.EXPLORE_NEVER)


@settings(service_epsilon=0.0)
def test_without_exploration_nothing_can_be_learned(explorer: Explorer) -> None:
    _, _, reason = explorer.choose(LOGITS, temperature=1.0, explore=True, now=NOON)

    assert reason == NotLearnable.NO_EXPLORATION


@settings(service_epsilon=1.0, service_explore_budget_daily=2)
def test_a_spent_budget_ends_exploration_until_the_next_day(explorer: Explorer) -> None:
    def reason(now: datetime) -> NotLearnable | None:
        return explorer.choose(LOGITS, temperature=1.0, explore=True, now=now)[2]

    assert [reason(NOON) for _ in range(3)] == [None, None, NotLearnable.BUDGET_SPENT]
    assert reason(NOON + timedelta(hours=11)) == NotLearnable.BUDGET_SPENT
    assert reason(NOON + timedelta(hours=12)) is None


def test_no_budget_is_never_spent() -> None:
    budget = Budget(None)

    budget.spend()

    assert not budget.is_spent(NOON)
