from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from examples.demo import watch
from examples.demo.watch import Verdicts, look


class Operators:
    """What the service would list, newest first."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Any]] = {"runs": [], "evaluations": [], "promotions": []}
        self.away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            return httpx.Response(503)
        name = request.url.path.removeprefix("/v1/")
        return httpx.Response(200, json={"object": "list", "data": self.lists[name]})


@pytest.fixture
def operators() -> Operators:
    return Operators()


@pytest.fixture
async def service(operators: Operators) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.MockTransport(operators)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


def promotion(epoch: int, version: str, action: str = "promote") -> dict[str, Any]:
    return {"epoch": epoch, "action": action, "version": version, "reason": "better"}


def evaluation(name: str, verdict: str) -> dict[str, Any]:
    return {"evaluation_id": name, "version": "v9", "verdict": verdict, "reason": "no gain"}


async def test_the_starting_model_is_no_promotion(
    service: httpx.AsyncClient, operators: Operators
) -> None:
    operators.lists["promotions"] = [promotion(2, "v2"), promotion(1, "v1", action="init")]
    verdicts = Verdicts()

    assert await look(service, verdicts, say=lambda _: None) == ["v2"]
    assert verdicts.promoted == {2: "v2"}


async def test_everything_is_told_once(service: httpx.AsyncClient, operators: Operators) -> None:
    operators.lists["promotions"] = [promotion(2, "v2")]
    operators.lists["evaluations"] = [evaluation("e1", "refuse")]
    said: list[str] = []
    verdicts = Verdicts()

    for _ in range(2):
        await look(service, verdicts, say=said.append)

    assert said == ["refused v9: no gain", "promoted v2 as epoch 2: better"]
    assert said == verdicts.lines


async def test_what_passed_is_not_refused_and_too_little_evidence_is(
    service: httpx.AsyncClient, operators: Operators
) -> None:
    operators.lists["evaluations"] = [
        evaluation("e2", "not_enough_evidence"),
        evaluation("e1", "pass"),
    ]
    verdicts = Verdicts()

    await look(service, verdicts, say=lambda _: None)

    assert verdicts.refused == {"e2": "no gain"}


async def test_a_run_that_goes_on_is_training(
    service: httpx.AsyncClient, operators: Operators
) -> None:
    operators.lists["runs"] = [{"status": "running"}, {"status": "promoted"}]
    verdicts = Verdicts()

    await look(service, verdicts, say=lambda _: None)

    assert verdicts.is_training


async def test_a_service_that_is_away_is_not_thought_to_have_stopped_training(
    service: httpx.AsyncClient, operators: Operators
) -> None:
    verdicts = Verdicts(is_training=True)
    operators.away = True

    await look(service, verdicts, say=lambda _: None)

    assert verdicts.is_training


async def test_a_promoted_version_is_waited_for_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.0)
    epochs = iter([1, None, 1, 2])
    asked = []

    def info(request: httpx.Request) -> httpx.Response:
        epoch = next(epochs)
        asked.append(request.url.path)
        return (
            httpx.Response(503)
            if epoch is None
            else httpx.Response(200, json={"serving": [{"epoch": epoch}]})
        )

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(info), base_url="http://service"
    ) as client:
        await watch.until_served(client, Verdicts(promoted={2: "v2"}))

    assert asked == ["/info"] * 4


async def test_a_service_that_is_away_for_a_moment_is_looked_at_again(
    service: httpx.AsyncClient, operators: Operators
) -> None:
    operators.away = True

    assert await look(service, Verdicts(), say=lambda _: None) == []
