import pytest

from judge.llm import LlmFailed
from judge.outage import Outage
from judge.retries import Backoff


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Doubling(Backoff):
    """Without the jitter."""

    def wait_s(self, attempt: int, retry_after: str | None = None) -> float:
        return float(retry_after or 2**attempt)


def outage() -> tuple[Outage, Clock]:
    clock = Clock()
    return Outage(backoff=Doubling(), clock=clock), clock


def failure(kind: str, retry_after: str | None = None) -> LlmFailed:
    return LlmFailed(kind, "", retry_after=retry_after)


@pytest.mark.parametrize(
    "kind", ["connection", "status_401", "status_403", "status_404", "status_429"]
)
def test_what_is_for_no_question_is_an_outage_at_once(kind: str):
    llm, _ = outage()

    assert llm.saw(failure(kind))
    assert llm.is_on


@pytest.mark.parametrize("kind", ["timeout", "status_408", "status_500", "status_503"])
def test_what_may_be_for_the_question_is_an_outage_when_it_comes_twice(kind: str):
    llm, _ = outage()

    assert not llm.saw(failure(kind))
    assert llm.saw(failure(kind))


@pytest.mark.parametrize("kind", ["no_verdict", "truncated", "refused", "malformed", "status_400"])
def test_who_replies_is_not_away(kind: str):
    llm, _ = outage()
    llm.saw(failure("timeout"))

    assert not llm.saw(failure(kind))
    assert not llm.is_on
    assert not llm.saw(failure("timeout"))


def test_pauses_double_until_it_is_back():
    llm, clock = outage()
    for pause in (1, 2, 4):
        llm.saw(failure("connection"))
        clock.now += pause - 0.1
        assert llm.is_on
        clock.now += 0.1
        assert not llm.is_on

    llm.ended()
    llm.saw(failure("connection"))
    clock.now += 1
    assert not llm.is_on


def test_what_the_api_asks_for_is_waited():
    llm, clock = outage()
    llm.saw(failure("status_429", retry_after="30"))

    clock.now += 29
    assert llm.is_on
    clock.now += 1
    assert not llm.is_on
