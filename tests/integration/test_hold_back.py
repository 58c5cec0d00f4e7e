"""The base of a line answers its share of the sessions beside every champion; refused, it leaves them to that."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, Row, select
from typer.testing import CliRunner

from contract import arms
from contract.rewards import RewardSpec
from contract.store import Store
from contract.tables import decisions
from rankloop.cli import app
from tests import logbook, models, serving
from tests.serving import Service, until
from tests.sockets import on_a_socket
from trainer import join
from trainer.examples import Skipped
from trainer.join import Window

DOCUMENTS = ["a castle by the sea", "who knows", "zebra crossing", "the author wrote it"]
QUERY = "who wrote it"


@pytest.fixture
async def empty(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str
) -> AsyncIterator[Service]:
    """It serves nothing yet."""
    settings = serving.settings(
        tmp_path, database_url=database_url, redis_url=redis_url, service_epsilon=0.5
    )
    async with serving.running(settings, engine) as service:
        yield service


@pytest.fixture
async def service(empty: Service, first: Path, second: Path) -> Service:
    """At epoch 2: the second version is the champion, the first one the base."""
    empty.publish(first)
    await empty.serves(empty.publish(second))
    return empty


async def hold_back(service: Service, share: float) -> None:
    """As an operator does it, until it is served."""
    body = {"share": share, "reason": "what is learning worth?"}
    reply = await service.client.post("/v1/hold-back", json=body)
    assert reply.status_code == 200, reply.text
    await until(lambda: service.app.state.parts.models.epoch("default") == reply.json()["epoch"])


async def sessions(service: Service, count: int, query: str = QUERY) -> list[tuple[str, str]]:
    """Arm and version of each session's answer."""
    bodies = [
        await service.rerank(DOCUMENTS, query, session_id=f"session {number}")
        for number in range(count)
    ]
    return [(body["meta"]["arm"], body["meta"]["version"]) for body in bodies]


def logged(engine: Engine) -> list[Row[Any]]:
    with engine.connect() as connection:
        return list(connection.execute(select(decisions).order_by(decisions.c.decision_id)))


async def test_a_session_that_is_held_back_keeps_the_base_whatever_is_promoted(
    service: Service, engine: Engine, first: Path, tmp_path: Path
) -> None:
    await hold_back(service, 0.3)
    before = await sessions(service, 60)
    models.make(tmp_path / "third", seed=3)
    await service.serves(service.publish(tmp_path / "third"))
    after = await sessions(service, 60, "another question")
    await service.logged()

    base, third = models.version(first), models.version(tmp_path / "third")
    assert [arm for arm, _ in before] == [arm for arm, _ in after]
    assert set(after) == {("hold_back", base), ("champion", third)}
    for row in logged(engine):
        assert (row.arm == "hold_back") == (arms.place(row.session_hash) >= 1 - 0.3)
        assert (row.version == base) == (row.arm == "hold_back")


async def test_a_canary_and_a_hold_back_under_load_fail_no_request_and_mix_no_versions(
    service: Service, engine: Engine, first: Path, second: Path, tmp_path: Path
) -> None:
    models.make(tmp_path / "third", seed=3)
    folders = (first, second, tmp_path / "third")
    base, champion, canary = map(models.version, folders)
    expected = {
        models.version(folder): 1 / (1 + np.exp(-models.logits(folder, QUERY, DOCUMENTS)))
        for folder in folders
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
    await hold_back(service, 0.2)
    both = service.publish(tmp_path / "third", share=0.3)
    await until(lambda: Counter(at for at, *_ in seen)[both.epoch] >= 400)
    stop.set()
    await asyncio.gather(*clients)
    await service.logged()

    counts = Counter((arm, version) for epoch, arm, version in seen if epoch == both.epoch)
    shares = {("canary", canary): 0.3, ("hold_back", base): 0.2, ("champion", champion): 0.5}
    assert counts.keys() == shares.keys()
    for who, share in shares.items():
        # Four standard errors.
        spread = 4 * (share * (1 - share) / counts.total()) ** 0.5
        assert counts[who] / counts.total() == pytest.approx(share, abs=spread)
    assert service.metric("rankloop_requests_total", route="/v1/rerank", status="500") == 0
    assert service.metric("rankloop_hold_back_share", line="default") == 0.2
    assert service.metric("rankloop_canary_share", line="default") == 0.3
    assert Counter((row.epoch, row.arm, row.version) for row in logged(engine)) == Counter(seen)


async def test_what_is_held_back_explores_as_the_champion_does_and_never_trains(
    service: Service, engine: Engine
) -> None:
    await hold_back(service, 0.4)
    await sessions(service, 60)
    await service.logged()
    rows = logged(engine)

    with engine.begin() as connection:
        for row in rows:
            logbook.rewarded(connection, row.decision_id, 1.0)
    with engine.connect() as connection:
        spec = RewardSpec()
        found = join.arrived(
            connection, line="default", spec=spec, since=0, version=rows[0].version
        )
        window = Window.of("default", spec, xid_from=0, xid_to=found.xid_to)
        joined = join.read(connection, window, limit=100)

    held_back = [row for row in rows if row.arm == "hold_back"]
    assert {row.not_learnable for row in held_back} == {"hold_back"}
    assert {row.not_learnable for row in rows if row.arm == "champion"} == {None}
    assert {row.epsilon for row in rows} == {0.5}
    assert {row.explored for row in held_back} == {True, False}
    assert joined.skipped == {Skipped.NOT_LEARNABLE: len(held_back)}
    assert len(joined.examples) == len(rows) - len(held_back)
    assert service.metric("rankloop_decisions_not_learnable_total", reason="hold_back") == len(
        held_back
    )


async def test_operators_hold_back_and_look_on_the_command_line(
    service: Service, first: Path
) -> None:
    base = models.version(first)
    commands = (["hold-back", "--share", ".02", "--reason", "what is it worth?"], ["status"])

    async with on_a_socket(service.app) as url:
        begun, looked = [
            await asyncio.to_thread(CliRunner().invoke, app, [*command, "--url", url])
            for command in commands
        ]

    assert (begun.exit_code, looked.exit_code) == (0, 0)
    assert f", holding back 2% for {base} as epoch 3" in begun.output
    # The terminal of a test is narrow.
    assert f"2% are held back for the base {base[:12]}: nothing is known yet" in " ".join(
        looked.output.split()
    )


async def test_while_the_base_is_the_champion_nobody_is_held_back(
    empty: Service, first: Path, second: Path
) -> None:
    await empty.serves(empty.publish(first))
    await hold_back(empty, 0.4)
    alone = await sessions(empty, 20)
    serving_alone = (await empty.client.get("/info")).json()["serving"][0]
    await empty.serves(empty.publish(second))
    beside = await sessions(empty, 20, "another question")

    base, champion = models.version(first), models.version(second)
    assert set(alone) == {("champion", base)}
    assert (serving_alone["hold_back_version"], serving_alone["hold_back_share"]) == (None, 0)
    assert set(beside) == {("hold_back", base), ("champion", champion)}


async def test_a_base_that_cannot_be_loaded_is_told_and_the_champion_answers(
    empty: Service, engine: Engine, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.swap._REJECTED_RETRY_S", 0.2)
    base = models.version(first)
    models.promote(engine, base, manifest=models.manifest(first))
    await empty.serves(empty.publish(second))
    await hold_back(empty, 0.4)

    missing = await sessions(empty, 20)
    before = (await empty.client.get("/info")).json()
    share_before = empty.metric("rankloop_hold_back_share", line="default")
    Store(empty.settings.artifacts_url).put(first)
    await until(lambda: empty.app.state.parts.models.is_whole("default"))
    loaded = await sessions(empty, 20, "another question")
    after = (await empty.client.get("/info")).json()

    assert set(missing) == {("champion", models.version(second))}
    assert [each["version"] for each in before["rejected"]] == [base]
    assert "not complete in the store" in before["rejected"][0]["reason"]
    assert empty.metric("rankloop_swaps_total", line="default", outcome="rejected") >= 1
    assert (share_before, empty.metric("rankloop_hold_back_share", line="default")) == (0, 0.4)
    assert ("hold_back", base) in loaded
    assert (after["rejected"], after["serving"][0]["hold_back_version"]) == ([], base)
