"""The frameworks against a live service: RANKLOOP_URL says where it answers."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from rankloop.client import Client, NotFound, Ranking
from rankloop.integrations.reranker import Reranker

WITHIN_S = 20.0


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["RANKLOOP_URL"]


@pytest.fixture(scope="session")
def service(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def rankings(monkeypatch: pytest.MonkeyPatch) -> list[Ranking]:
    """Every ranking that an integration has got, in order."""
    seen: list[Ranking] = []
    rank = Reranker.rank

    def recorded(self: Reranker, *args: Any, **kwargs: Any) -> Ranking:
        seen.append(rank(self, *args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(Reranker, "rank", recorded)
    return seen


@pytest.fixture
def logged(service: Client) -> Callable[[str], dict[str, Any]]:
    """What the service knows of a decision, once it has reached the database."""
    return lambda decision_id: _waited_for(service, decision_id, lambda decision: True)


@pytest.fixture
def answer_of(service: Client) -> Callable[[str], dict[str, Any]]:
    """A decision's answer, once it has arrived, with the decision beside it."""

    def found(decision_id: str) -> dict[str, Any]:
        decision = _waited_for(service, decision_id, lambda decision: bool(decision["answer"]))
        return {**decision["answer"], "decision": decision}

    return found


def _waited_for(
    service: Client, decision_id: str, good: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while True:
        with suppress(NotFound):
            decision = service.decision(decision_id)
            if good(decision):
                return decision
        assert time.monotonic() < deadline, "it did not arrive"
        time.sleep(0.05)
