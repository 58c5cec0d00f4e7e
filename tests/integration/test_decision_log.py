"""What is stored of a decision, and what happens to the log when Postgres is away, slow or refuses a row."""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, Row, func, make_url, select, text

from contract import ids, policy
from contract.policy import Policy
from contract.records import Candidate, Decision
from contract.tables import decisions, texts
from service import decisions as log
from tests import models, proxy, serving
from tests.proxy import Proxy
from tests.serving import SECRET, Service, until

DOCUMENTS = ["a castle", "who knows", "zebra", "the author", "q", "another one"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.make(tmp_path / "version", seed=1)
    return tmp_path / "version"


@pytest.fixture
async def service(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str
) -> AsyncIterator[Service]:
    settings = serving.settings(tmp_path, database_url=database_url, service_epsilon=0.5)
    async with serving.running(settings, engine) as service:
        service.place(folder, epoch=3)
        yield service


@pytest.fixture
async def postgres(postgres_server: Any) -> AsyncIterator[Proxy]:
    host = Path(str(postgres_server.query["host"]))
    async with proxy.before(host / f".s.PGSQL.{postgres_server.query['port']}") as gate:
        yield gate


def through(gate: Proxy, database_url: str) -> str:
    url = make_url(database_url).set(host="127.0.0.1", port=gate.port, query={})
    return url.render_as_string(hide_password=False)


def stored(engine: Engine) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(select(decisions).order_by(decisions.c.decision_id)).all()


async def test_the_propensity_recomputes_from_the_stored_row_alone(
    service: Service, engine: Engine
) -> None:
    for top_n in [None, 1, 3, 6] * 10:
        await service.rerank(DOCUMENTS, top_n=top_n)
    await service.logged()

    rows = stored(engine)
    assert len(rows) == 40
    assert {row.explored for row in rows} == {True, False}
    for row in rows:
        rule = Policy(
            epsilon=row.epsilon,
            temperature=row.temperature,
            sampled=row.sampled,
            max_fall=row.max_fall,
        )
        again = policy.log_propensity(np.array(row.logits), np.array(row.shown), rule)
        assert row.cum_log_propensity == pytest.approx(again.tolist(), abs=1e-12)
        assert row.not_learnable is None


async def test_a_row_says_everything_that_was_asked_and_shown(
    service: Service, engine: Engine
) -> None:
    documents = [{"text": "old", "id": "k1", "score": 2.0}, "plain", {"text": "new", "score": -1}]
    body = await service.rerank(
        documents, "which?", top_n=2, tags={"app": "docs"}, session_id="ann", explore="never"
    )
    await service.logged()

    (row,) = stored(engine)
    with engine.connect() as connection:
        rows = connection.execute(select(texts))
        body_of = {each.text_id: each.body for each in rows}
    assert str(row.decision_id) == body["id"]
    assert ids.is_ours(row.decision_id, "default", secret=SECRET.encode())
    assert body_of[row.query_text] == "which?"
    assert [body_of[text_id] for text_id in row.candidate_texts] == ["old", "plain", "new"]
    assert row.candidate_keys == ["k1", None, None]
    assert row.first_stage_scores == [2.0, None, -1.0]
    assert row.shown == [result["index"] for result in body["results"]]
    assert (row.version, row.epoch) == (body["meta"]["version"], 3)
    assert (row.precision, row.arm, row.line) == ("float32", "champion", "default")
    assert (row.not_learnable, row.epsilon) == ("explore_never", 0.0)
    assert row.tags == {"app": "docs"}
    assert row.cum_log_propensity == [0.0, 0.0]


async def test_a_passage_is_stored_once(service: Service, engine: Engine) -> None:
    for _ in range(5):
        await service.rerank(DOCUMENTS, "the same")
    await service.logged()

    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(texts)).scalar_one()
    assert count == len(DOCUMENTS) + 1


@pytest.mark.parametrize(("kept", "rows"), [("hash", 1), ("off", 0)])
async def test_texts_can_be_kept_out(
    kept: str, rows: int, tmp_path: Path, folder: Path, engine: Engine, database_url: str
) -> None:
    settings = serving.settings(tmp_path, database_url=database_url, service_log_text=kept)
    async with serving.running(settings, engine) as service:
        service.place(folder)
        body = await service.rerank(DOCUMENTS)
        await service.logged()

    assert body["meta"]["logged"] == (rows == 1)
    assert len(stored(engine)) == rows
    with engine.connect() as connection:
        assert connection.execute(select(texts.c.body).distinct()).scalars().all() == [None] * rows


async def test_a_text_whose_hash_alone_was_kept_gets_its_body_when_it_comes_again(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str
) -> None:
    for kept in ("hash", "full"):
        settings = serving.settings(tmp_path, database_url=database_url, service_log_text=kept)
        async with serving.running(settings, engine) as service:
            service.place(folder)
            await service.rerank(DOCUMENTS)
            await service.logged()

    with engine.connect() as connection:
        bodies = connection.execute(select(texts.c.body)).scalars().all()
    assert set(bodies) == {"who wrote it", *DOCUMENTS}
    assert len(bodies) == 1 + len(DOCUMENTS)


async def test_a_stopping_service_stores_what_still_waits(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str
) -> None:
    settings = serving.settings(tmp_path, database_url=database_url)
    async with serving.running(settings, engine) as service:
        service.place(folder)
        bodies = [await service.rerank(DOCUMENTS) for _ in range(30)]

    assert {str(row.decision_id) for row in stored(engine)} == {body["id"] for body in bodies}


async def test_a_row_that_postgres_refuses_blocks_no_other(
    service: Service, engine: Engine
) -> None:
    # Such a text does not come through the edge, and such an epoch is never reached.
    bad = [a_decision(query="\x00"), a_decision(epoch=2**70)]
    good = [a_decision() for _ in range(3)]
    log_ = service.app.state.parts.log

    for each in [good[0], bad[0], good[1], bad[1], good[2]]:
        assert log_.offer(each)
    await service.logged()

    assert {row.decision_id for row in stored(engine)} == {each.id for each in good}
    assert service.metric("rankloop_decisions_dropped_total", reason="refused_by_postgres") == 2
    assert service.metric("rankloop_decisions_logged_total") == 3


async def test_a_day_without_a_partition_only_delays_the_log(
    service: Service, engine: Engine
) -> None:
    await service.rerank(DOCUMENTS)
    await service.logged()
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE decisions_{datetime.now(UTC):%Y%m%d}"))

    body = await service.rerank(DOCUMENTS)
    assert service.metric("rankloop_decisions_logged_total") == 1
    with engine.begin() as connection:
        connection.execute(text("SELECT ensure_partitions(7)"))
    await service.logged()

    assert {str(row.decision_id) for row in stored(engine)} == {body["id"]}


async def test_postgres_away_only_delays_the_log(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str, postgres: Proxy
) -> None:
    settings = serving.settings(tmp_path, database_url=through(postgres, database_url))
    async with serving.running(settings, engine) as service:
        service.place(folder)
        before = await service.rerank(DOCUMENTS)
        await service.logged()

        await postgres.cut()
        while_away = [await service.rerank(DOCUMENTS) for _ in range(5)]
        assert all(body["meta"]["logged"] for body in while_away)
        assert len(stored(engine)) == 1
        await postgres.restore()
        await service.logged()

    bodies = [before, *while_away]
    assert {str(row.decision_id) for row in stored(engine)} == {body["id"] for body in bodies}


async def test_a_frozen_postgres_is_not_felt_and_the_backlog_is_bounded(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str, postgres: Proxy
) -> None:
    three = 3 * log.size_bytes(a_decision())
    settings = serving.settings(
        tmp_path,
        database_url=through(postgres, database_url),
        service_log_queue_bytes=three,
        service_drain_s=0.0,
    )
    async with serving.running(settings, engine) as service:
        service.place(folder)
        postgres.freeze()
        start = time.monotonic()

        bodies = [await service.rerank(DOCUMENTS) for _ in range(6)]

        assert time.monotonic() - start < 5.0  # a frozen database would answer never
        assert [body["meta"]["logged"] for body in bodies] == [True] * 3 + [False] * 3
        assert service.metric("rankloop_decisions_dropped_total", reason="queue_full") == 3
        await postgres.restore()
        await service.logged()

    assert len(stored(engine)) == 3


async def test_readiness_names_a_log_that_is_behind(
    tmp_path: Path, folder: Path, engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_BEHIND_S", 0.0)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE texts RENAME TO elsewhere"))
    settings = serving.settings(tmp_path, database_url=database_url)
    async with serving.running(settings, engine) as service:
        service.place(folder)
        await service.rerank(DOCUMENTS)
        await until(lambda: service.app.state.parts.log.is_behind)

        ready = await service.client.get("/readyz")
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO texts"))
        await service.logged()
        healed = await service.client.get("/readyz")

    assert (ready.status_code, ready.json()["degraded"]) == (200, ["decision_log"])
    assert healed.json()["degraded"] == []


def a_decision(**changes: Any) -> Decision:
    """As heavy as what `Service.rerank(DOCUMENTS)` decides."""
    logits = np.zeros(len(DOCUMENTS))
    rule = Policy(epsilon=0.5, temperature=1.0, sampled=len(DOCUMENTS))
    fields: dict[str, Any] = {
        "id": ids.mint("default", secret=SECRET.encode(), now=datetime.now(UTC)),
        "tenant": "default",
        "line": "default",
        "query": "who wrote it",
        "candidates": tuple(Candidate(text=text) for text in DOCUMENTS),
        "logits": logits,
        "policy": rule,
        "choice": policy.choose(logits, rule, np.random.default_rng(0), top_n=len(DOCUMENTS)),
        "version": "some",
        "epoch": 1,
        "precision": "float32",
    }
    return Decision(**fields | changes)
