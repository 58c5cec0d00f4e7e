"""A second version answers its share of the sessions; refused, it leaves them all to the champion."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import create_async_engine

from contract.records import Arm, Failure
from contract.store import Store
from contract.tables import decisions, failures
from service.failures import FailureLog
from tests import models, serving
from tests.serving import Service, until

DOCUMENTS = ["a castle by the sea", "who knows", "zebra crossing", "the author wrote it"]
QUERY = "who wrote it"


@pytest.fixture
async def service(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str, first: Path
) -> AsyncIterator[Service]:
    """At epoch 1."""
    settings = serving.settings(
        tmp_path, database_url=database_url, redis_url=redis_url, service_epsilon=0.5
    )
    async with serving.running(settings, engine) as service:
        service.place(first)
        assert service.publish(first).epoch == 1
        yield service


async def sessions(service: Service, count: int) -> dict[str, Any]:
    """What each session's answer says of itself."""
    names = [f"session {number}" for number in range(count)]
    bodies = [await service.rerank(DOCUMENTS, QUERY, session_id=name) for name in names]
    return {name: body["meta"] for name, body in zip(names, bodies, strict=True)}


async def test_a_canary_under_load_fails_no_request_and_mixes_no_versions(
    service: Service, engine: Engine, first: Path, second: Path
) -> None:
    expected = {
        models.version(folder): 1 / (1 + np.exp(-models.logits(folder, QUERY, DOCUMENTS)))
        for folder in (first, second)
    }
    seen: list[tuple[int, str, str]] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            body = await service.rerank(DOCUMENTS, QUERY)
            meta = body["meta"]
            seen.append((meta["epoch"], meta["arm"], meta["version"]))
            for result in body["results"]:
                true = expected[meta["version"]][result["index"]]
                assert result["model_score"] == pytest.approx(true, abs=1e-5)

    clients = [asyncio.create_task(client()) for _ in range(4)]
    for share in (0.1, 0.5):
        live = service.publish(second, share=share)
        service.announce(live)
        await until(lambda epoch=live.epoch: Counter(at for at, *_ in seen)[epoch] >= 300)  # type: ignore[misc]
    await service.serves(service.publish(second))
    await until(lambda: seen[-1][0] == 4)
    stop.set()
    await asyncio.gather(*clients)
    await service.logged()

    one, two = models.version(first), models.version(second)
    assert {(arm, version) for epoch, arm, version in seen if epoch in {1, 4}} == {
        ("champion", one),
        ("champion", two),
    }
    for epoch, share in ((2, 0.1), (3, 0.5)):
        arms = [(arm, version) for at, arm, version in seen if at == epoch]
        assert set(arms) == {("champion", one), ("canary", two)}
        # Four standard errors.
        spread = 4 * (share * (1 - share) / len(arms)) ** 0.5
        assert np.mean([arm == "canary" for arm, _ in arms]) == pytest.approx(share, abs=spread)
    assert service.metric("rankloop_requests_total", route="/v1/rerank", status="500") == 0
    canaries = sum(arm == "canary" for _, arm, _ in seen)
    assert service.metric("rankloop_answers_total", line="default", arm="canary") == canaries
    with engine.connect() as connection:
        columns = (decisions.c.epoch, decisions.c.arm, decisions.c.version)
        assert Counter(map(tuple, connection.execute(select(*columns)))) == Counter(seen)


async def test_a_session_keeps_its_arm_and_a_larger_share_keeps_who_was_in(
    service: Service, second: Path
) -> None:
    await service.serves(service.publish(second, share=0.1))
    tenth, again = await sessions(service, 60), await sessions(service, 60)
    await service.serves(service.publish(second, share=0.5))
    half = await sessions(service, 60)

    def inside(metas: dict[str, Any]) -> set[str]:
        return {name for name, meta in metas.items() if meta["arm"] == "canary"}

    assert inside(tenth) == inside(again)
    # Repeats of the last minutes keep their order, and who made it.
    assert inside(half) == inside(tenth)
    fresh = {
        name: (await service.rerank(DOCUMENTS, "another question", session_id=name))["meta"]
        for name in half
    }
    assert inside(tenth) < inside(fresh)
    assert 10 <= len(inside(fresh)) <= 50


async def test_a_bit_flipped_canary_is_refused_and_the_champion_answers_everybody(
    service: Service, first: Path, second: Path
) -> None:
    version = Store(service.settings.artifacts_url).put(second)
    weights = Path(service.settings.artifacts_url) / version / "float32.onnx"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(bytes(data))

    await service.serves(service.publish(second, share=0.5))
    metas = await sessions(service, 20)

    assert {(meta["arm"], meta["version"]) for meta in metas.values()} == {
        ("champion", models.version(first))
    }
    told = (await service.client.get("/info")).json()
    assert [each["version"] for each in told["rejected"]] == [version]
    assert "does not match its hash" in told["rejected"][0]["reason"]
    assert (told["serving"][0]["canary_version"], told["serving"][0]["canary_share"]) == (None, 0)
    assert service.metric("rankloop_swaps_total", line="default", outcome="rejected") == 1
    assert service.metric("rankloop_canary_share", line="default") == 0


async def test_a_canary_that_could_not_be_read_is_tried_again(
    service: Service, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.swap._REJECTED_RETRY_S", 0.2)
    version = models.version(second)
    await service.serves(
        models.promote(
            service.engine,  # type: ignore[arg-type]
            version,
            manifest=models.manifest(second),
            share=0.5,
        )
    )
    before = (await service.client.get("/info")).json()

    Store(service.settings.artifacts_url).put(second)
    await until(lambda: service.app.state.parts.models.is_whole("default"))
    after = (await service.client.get("/info")).json()

    assert [each["version"] for each in before["rejected"]] == [version]
    assert after["rejected"] == []
    assert (after["serving"][0]["canary_version"], after["serving"][0]["canary_share"]) == (
        *(version, 0.5),
    )
    assert service.metric("rankloop_canary_share", line="default") == 0.5


async def test_what_a_model_fails_is_remembered_by_arm_while_there_is_a_canary(
    service: Service, engine: Engine, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(pairs: Any, *_: Any) -> Any:
        return np.full(len(pairs), np.nan)

    (alone,) = service.app.state.parts.models.loaded
    with monkeypatch.context() as patch:
        patch.setattr(alone.scorer, "logits", nothing)
        await service.client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    await service.serves(service.publish(second, share=0.5))
    _, canary = service.app.state.parts.models.loaded
    monkeypatch.setattr(canary.scorer, "logits", nothing)

    names = [f"session {number}" for number in range(20)]
    codes = [
        (
            await service.client.post(
                "/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "session_id": name}
            )
        ).status_code
        for name in names
    ]
    await until(lambda: len(failed(engine)) == codes.count(500))
    refused = await service.client.post(
        "/v1/rerank", json={"query": "long " * 100, "documents": DOCUMENTS}
    )

    assert set(codes) == {200, 500}
    assert refused.status_code == 422
    rows = failed(engine)
    assert {(row.epoch, row.arm, row.version, row.error) for row in rows} == {
        (2, "canary", models.version(second), "ScoresNotFinite")
    }
    assert len({row.session_hash for row in rows}) == len(rows)
    assert service.metric("rankloop_failed_total", line="default", arm="canary") == len(rows)
    assert service.metric("rankloop_failed_total", line="default", arm="champion") == 1


async def test_failures_wait_for_postgres_and_too_many_are_counted(
    service: Service, engine: Engine, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.failures.MOST", 2)
    metrics = service.app.state.parts.metrics
    away = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:9/nothing")
    there = create_async_engine(service.settings.database_url)
    log = FailureLog(away, metrics=metrics)

    async with log.running():
        for _ in range(3):
            log.offer(a_failure())
        await asyncio.sleep(0.2)
        before = failed(engine)
        log._engine = there
        await until(lambda: len(failed(engine)) == 2)
    await there.dispose()

    assert before == []
    assert service.metric("rankloop_failures_dropped_total") == 1


def a_failure() -> Failure:
    return Failure(
        decision_id=uuid4(),
        tenant="default",
        line="default",
        session_hash=None,
        epoch=1,
        version="v",
        arm=Arm.CANARY,
        error="ValueError",
    )


def failed(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(failures)).all())


async def test_pairs_that_are_scored_alone_are_all_the_champions(
    service: Service, first: Path, second: Path
) -> None:
    await service.serves(service.publish(second, share=0.5))
    texts = [f"text {number}" for number in range(20)]
    body = {"text_1": [f"query {number}" for number in range(20)], "text_2": texts}

    response = await service.client.post("/score", json=body)

    true = [
        1 / (1 + np.exp(-models.logits(first, query, [text])[0]))
        for query, text in zip(body["text_1"], texts, strict=True)
    ]
    found = [each["score"] for each in response.json()["data"]]
    assert found == pytest.approx(true, abs=1e-4)
