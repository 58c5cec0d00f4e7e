import io
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from rich.console import Console

from examples.demo import ceiling, endpoint, play, reader
from examples.demo.application import Application
from examples.demo.play import Plan
from examples.demo.show import Show
from examples.demo.traffic import Noise
from examples.demo.worlds import Ask, Document, World

DOCUMENTS = tuple(
    Document(id=letter, text=letter, score=score) for letter, score in [("a", 2.0), ("b", 1.0)]
)


def ask(name: str, *, group: str) -> Ask:
    return Ask(
        id=name,
        text=name,
        documents=DOCUMENTS,
        gold=frozenset("b"),
        answers=("b",),
        cluster=name,
        group=group,
    )


def read(question: str, used: Sequence[str]) -> str:
    return used[0]


WORLD = World(
    name="letters",
    train=(ask("t", group="seen"),),
    held_out=(ask("h1", group="seen"), ask("h2", group="unseen")),
    read=read,
    grade=lambda ask, _, answer: float(answer in ask.answers),
)


class Service:
    """Shows the wrong letter first until it was rewarded three times, then publishes itself anew."""

    def __init__(self) -> None:
        self.rewards = 0
        self.app = FastAPI()
        self.app.post("/v1/rerank")(self.rerank)
        self.app.post("/v1/{path:path}")(self.take)
        self.app.get("/v1/{name}")(self.list)
        self.app.get("/info")(self.info)

    @property
    def has_learned(self) -> bool:
        return self.rewards >= 3

    async def rerank(self) -> dict[str, Any]:
        order = [1, 0] if self.has_learned else [0, 1]
        version = "v2" if self.has_learned else "v1"
        return {
            "id": "decision",
            "results": [{"index": index} for index in order],
            "meta": {"version": version},
        }

    async def take(self, path: str) -> dict[str, Any]:
        self.rewards += path == "feedback"
        return {}

    async def info(self) -> dict[str, Any]:
        return {"serving": [{"epoch": 2 if self.has_learned else 1}]}

    async def list(self, name: str, request: Request) -> dict[str, Any]:
        init = {"epoch": 1, "action": "init", "version": "v1", "reason": "the base"}
        new = {"epoch": 2, "action": "promote", "version": "v2", "reason": "better"}
        promotions = [new, init] if self.has_learned else [init]
        return {"data": promotions if name == "promotions" else []}


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    def at(app: FastAPI, base_url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)

    application = Application(
        service=at(Service().app, "http://service"),
        reader=at(endpoint.app(partial(reader.said, read)), "http://reader/v1/"),
        reader_model="m",
        world=WORLD,
    )
    yield application
    await application.close()


async def test_a_run_is_measured_before_and_after_what_it_learned(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceiling, "train", lambda *_, **__: [[1, 0], [0, 1]])
    text = io.StringIO()
    plan = Plan(
        seed=1,
        base="tiny",
        decisions=5,
        rate_per_s=1e6,
        noise=Noise(flipped=0, missing=0, delay_s=(0, 0)),
        reward_wait_s=0,
        folder=tmp_path,
    )

    played = await play.play(application, plan, show=Show(Console(file=text, width=100)))

    assert (played.decisions, played.promoted, played.failed_requests) == (5, 1, 0)
    assert (played.comparison.start, played.comparison.final) == (0, 1)
    assert played.ceiling == 0.5
    assert {name: group.gain for name, group in played.groups.items()} == {"seen": 1, "unseen": 1}
    assert [point.version for point in played.curve][:1] == ["v1"]
    assert played.curve[-1].version == "v2"
    assert "promoted v2 as epoch 2: better" in text.getvalue()
