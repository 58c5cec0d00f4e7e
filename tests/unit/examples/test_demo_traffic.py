import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from examples.demo import endpoint, reader, traffic
from examples.demo.application import Application
from examples.demo.traffic import Noise, Tally
from examples.demo.worlds import Ask, Document, World

NO_NOISE = Noise(flipped=0, missing=0, delay_s=(0, 0))


class Service:
    """Ranks backwards, and remembers what it was told."""

    def __init__(self) -> None:
        self.rerank: list[Any] = []
        self.answers: list[tuple[str, Any]] = []
        self.feedback: list[tuple[str, Any]] = []
        self.fails_on = ""
        numbers = itertools.count()
        self.app = FastAPI()

        @self.app.post("/v1/{path:path}")
        async def post(path: str, request: Request, response: Response) -> dict[str, Any]:
            body = await request.json()
            if self.fails_on and path.endswith(self.fails_on):
                response.status_code = 503
                return {}
            if path == "rerank":
                self.rerank.append(body)
                best_first = reversed(range(len(body["documents"])))
                return {
                    "id": f"decision-{next(numbers)}",
                    "results": [{"index": index} for index in best_first][: body["top_n"]],
                    "meta": {"version": "v1"},
                }
            (self.feedback if path == "feedback" else self.answers).append((path, body))
            return {}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def application(service: Service) -> AsyncIterator[Application]:
    def read(question: str, used: Sequence[str]) -> str:
        return used[0]

    def at(app: FastAPI, base_url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)

    world = World(
        name="letters",
        train=(),
        held_out=(),
        read=read,
        grade=lambda ask, _, answer: float(answer in ask.answers),
    )
    application = Application(
        service=at(service.app, "http://service"),
        reader=at(endpoint.app(partial(reader.said, read)), "http://reader/v1/"),
        reader_model="m",
        world=world,
    )
    yield application
    await application.close()


def ask(answer: str) -> Ask:
    return Ask(
        id=answer,
        text="Which letter?",
        documents=tuple(
            Document(id=letter, text=letter, score=score)
            for letter, score in [("a", 4.0), ("b", 3.0), ("c", 2.0), ("d", 1.0)]
        ),
        gold=frozenset([answer]),
        answers=(answer,),
        cluster=answer,
        group="seen",
    )


async def flow(
    application: Application,
    asks: Sequence[Ask],
    *,
    noise: Noise = NO_NOISE,
    rate_per_s: float = 1e6,
) -> Tally:
    tally = Tally()
    await traffic.flow(application, asks, rate_per_s=rate_per_s, noise=noise, seed=0, tally=tally)
    return tally


async def test_a_lap_reranks_answers_and_rewards(
    application: Application, service: Service
) -> None:
    tally = await flow(application, [ask("d")])

    (request,) = service.rerank
    assert [document["id"] for document in request["documents"]] == list("abcd")
    assert (request["top_n"], request["explore"]) == (3, "auto")
    ((path, answer),) = service.answers
    assert path == "decisions/decision-0/answer"
    assert (answer["used_k"], answer["text"], answer["citations"]) == (3, "d", [3])
    ((_, feedback),) = service.feedback
    assert (feedback["decision_id"], feedback["value"]) == ("decision-0", 1.0)
    assert (tally.rewards, tally.failures) == ([1.0], [])


async def test_a_flipped_reward_says_the_opposite_and_the_truth_stays(
    application: Application, service: Service
) -> None:
    tally = await flow(
        application, [ask("d"), ask("a")], noise=Noise(flipped=1, missing=0, delay_s=(0, 0))
    )

    assert sorted(tally.rewards) == [0.0, 1.0]
    assert {one.ask.id: one.quality for one in tally.answered} == {"d": 1.0, "a": 0.0}
    assert [body["value"] for _, body in service.feedback] == tally.rewards


async def test_a_missing_reward_is_never_sent(application: Application, service: Service) -> None:
    tally = await flow(application, [ask("d")], noise=Noise(flipped=0, missing=1, delay_s=(0, 0)))

    assert (len(tally.answered), tally.rewards, service.feedback) == (1, [], [])


async def test_noise_comes_as_often_as_it_says(application: Application) -> None:
    noise = Noise(flipped=0.25, missing=0.5, delay_s=(0, 0))

    tally = await flow(application, [ask("d")] * 400, noise=noise)

    # Four standard deviations of a share among 400, and among the 200 that are left.
    assert len(tally.rewards) == pytest.approx(200, abs=4 * (400 * 0.25) ** 0.5)
    assert tally.rewards.count(0.0) == pytest.approx(50, abs=4 * (200 * 0.1875) ** 0.5 + 10)


@pytest.mark.parametrize("step", ["rerank", "answer", "feedback"])
async def test_every_request_that_fails_is_counted(
    application: Application, service: Service, step: str
) -> None:
    service.fails_on = step

    tally = await flow(application, [ask("d"), ask("a")])

    assert len(tally.failures) == 2
    assert all("503" in failure for failure in tally.failures)


async def test_a_reader_that_fails_is_not_the_services_failure(
    application: Application, service: Service
) -> None:
    application.reader.base_url = httpx.URL("http://reader/nowhere/")

    tally = await flow(application, [ask("d")])

    assert (len(tally.reader_failures), tally.failures, service.feedback) == (1, [], [])


async def test_visitors_come_no_faster_than_the_rate(application: Application) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    await flow(application, [ask("d")] * 5, rate_per_s=50)

    assert loop.time() - started >= 4 / 50


async def test_every_visitor_is_a_session_of_its_own(
    application: Application, service: Service
) -> None:
    await flow(application, [ask("d")] * 3)

    assert len({request["session_id"] for request in service.rerank}) == 3


async def test_held_out_questions_are_never_explored_and_never_rewarded(
    application: Application, service: Service
) -> None:
    answered = await traffic.held_out(application, [ask("d"), ask("a")], tally=Tally())

    assert [one.quality for one in answered] == [1.0, 0.0]
    assert {request["explore"] for request in service.rerank} == {"never"}
    assert service.feedback == []
