"""A new version takes its place between two requests, or is refused and the old one keeps serving."""

import asyncio
import json
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from sqlalchemy import Engine, make_url

from contract.artifact import MANIFEST, Manifest, sha256
from contract.pointer import Keys, Live
from contract.store import Store
from tests import models, proxy, serving
from tests.proxy import Proxy
from tests.serving import SECRET, Service, until

DOCUMENTS = ["a castle by the sea", "who knows", "zebra crossing", "the author wrote it"]
QUERY = "who wrote it"


@pytest.fixture
async def service(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str, first: Path
) -> AsyncIterator[Service]:
    """At epoch 1."""
    settings = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url)
    async with serving.running(settings, engine) as service:
        service.place(first)
        assert service.publish(first).epoch == 1
        yield service


@pytest.fixture
def messenger(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


async def info(service: Service) -> Any:
    return (await service.client.get("/info")).json()


async def rejected(service: Service, live: Live) -> str:
    """The reason why this replica does not serve what it was told to."""
    rejections = service.app.state.parts.models.rejections
    await until(lambda: live.line in rejections and rejections[live.line].live == live)
    (shown,) = (await info(service))["rejected"]
    assert (shown["epoch"], shown["version"]) == (live.epoch, live.version)
    reason: str = shown["reason"]
    return reason


async def test_a_service_without_a_model_becomes_ready_when_one_is_published(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str, first: Path
) -> None:
    settings = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url)
    async with serving.running(settings, engine) as service:
        before = await service.client.get("/readyz")
        await service.serves(service.publish(first))
        after = await service.client.get("/readyz")
        body = await service.rerank(DOCUMENTS, QUERY)

    assert (before.status_code, before.json()["status"]) == (503, "no_model")
    assert (after.status_code, after.json()["status"]) == (200, "ready")
    assert (body["meta"]["version"], body["meta"]["epoch"]) == (models.version(first), 1)


async def test_a_swap_under_load_fails_no_request_and_mixes_no_versions(
    service: Service, first: Path, second: Path
) -> None:
    expected = {
        models.version(folder): 1 / (1 + np.exp(-models.logits(folder, QUERY, DOCUMENTS)))
        for folder in (first, second)
    }
    seen: list[tuple[int, str]] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            body = await service.rerank(DOCUMENTS, QUERY)
            meta = body["meta"]
            seen.append((meta["epoch"], meta["version"]))
            for result in body["results"]:
                true = expected[meta["version"]][result["index"]]
                assert result["model_score"] == pytest.approx(true, abs=1e-5)

    clients = [asyncio.create_task(client()) for _ in range(4)]
    for folder in (second, first, second):
        live = service.publish(folder)
        service.announce(live)
        await service.serves(live)
        await until(lambda epoch=live.epoch: seen[-1][0] == epoch)  # type: ignore[misc]
    stop.set()
    await asyncio.gather(*clients)

    of_epoch = {epoch: {version for at, version in seen if at == epoch} for epoch in (1, 2, 3, 4)}
    one, two = models.version(first), models.version(second)
    assert of_epoch == {1: {one}, 2: {two}, 3: {one}, 4: {two}}
    assert service.metric("rankloop_requests_total", route="/v1/rerank", status="500") == 0


async def test_the_word_through_redis_is_quicker_than_polling(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str, first: Path, second: Path
) -> None:
    settings = serving.settings(
        tmp_path, database_url=database_url, redis_url=redis_url, service_poll_s=600.0
    )
    async with serving.running(settings, engine) as service:
        live = service.publish(first)
        await asyncio.sleep(0)
        service.announce(live)
        await service.serves(live)
        live = service.publish(second)
        service.announce(live)

        await service.serves(live)

        assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 2


def flipped(folder: Path) -> None:
    """One bit of the weights, in place."""
    path = folder / "float32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def rehashed(folder: Path, change: Callable[[Path], None]) -> None:
    """A folder that was made wrong: its hashes are right."""
    change(folder)
    manifest = Manifest.of_json((folder / MANIFEST).read_bytes())
    files = {name: sha256(folder / name) for name in manifest.files}
    (folder / MANIFEST).write_bytes(manifest.model_copy(update={"files": files}).to_json())


def not_a_graph(folder: Path) -> None:
    (folder / "float32.onnx").write_bytes(b"\x08\x08 nonsense" * 100)


def half_a_graph(folder: Path) -> None:
    path = folder / "float32.onnx"
    path.write_bytes(path.read_bytes()[:-200])


def scores_nan(folder: Path) -> None:
    graph = models.network(np.random.default_rng(2), scale=np.nan)
    (folder / "float32.onnx").write_bytes(graph.SerializeToString())


def other_weights(folder: Path) -> None:
    graph = models.network(np.random.default_rng(3))
    (folder / "float32.onnx").write_bytes(graph.SerializeToString())


async def test_a_bit_flipped_artifact_is_refused_and_the_old_model_serves(
    service: Service, second: Path
) -> None:
    version = Store(service.settings.artifacts_url).put(second)
    flipped(Path(service.settings.artifacts_url) / version)

    live = service.publish(second)
    reason = await rejected(service, live)

    assert "does not match its hash" in reason
    body = await service.rerank(DOCUMENTS)
    assert body["meta"]["epoch"] == 1
    assert service.metric("rankloop_swaps_total", line="default", outcome="rejected") == 1
    assert (await service.client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (not_a_graph, "refuses float32.onnx"),
        (half_a_graph, "float32.onnx"),
        (scores_nan, "golden pair"),
        (other_weights, "golden pair"),
    ],
)
async def test_a_model_that_is_wrong_with_right_hashes_is_refused(
    service: Service, second: Path, change: Callable[[Path], None], said: str
) -> None:
    rehashed(second, change)

    reason = await rejected(service, service.publish(second))

    assert said in reason
    assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 1


async def test_a_version_that_the_store_does_not_have_is_refused(
    service: Service, engine: Engine, second: Path
) -> None:
    manifest = Manifest.of_json((second / MANIFEST).read_bytes())
    live = models.promote(engine, manifest.version, manifest=manifest)

    assert "not complete in the store" in await rejected(service, live)


async def test_after_a_refusal_the_next_good_version_is_served(
    service: Service, first: Path, second: Path, tmp_path: Path
) -> None:
    rehashed(second, scores_nan)
    await rejected(service, service.publish(second))
    models.make(tmp_path / "third", seed=3)

    await service.serves(service.publish(tmp_path / "third"))

    assert (await info(service))["rejected"] == []
    assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 3


async def test_a_damaged_copy_in_the_cache_is_fetched_anew(
    service: Service, first: Path, second: Path
) -> None:
    version = models.version(second)
    Store(service.settings.artifacts_url).put(second)
    Store(service.settings.artifacts_url).fetch(version, service.settings.cache_dir)
    flipped(service.settings.cache_dir / version)

    await service.serves(service.publish(second))

    assert (await service.rerank(DOCUMENTS))["meta"]["version"] == version


async def test_the_retired_model_is_let_go_of_while_nobody_asks(
    service: Service, second: Path
) -> None:
    await service.rerank(DOCUMENTS)
    (before,) = service.app.state.parts.models.serving
    retired = weakref.ref(before.scorer)

    del before
    await service.serves(service.publish(second))

    await until(lambda: retired() is None)


async def test_a_new_epoch_of_the_same_version_loads_nothing(service: Service, first: Path) -> None:
    (before,) = service.app.state.parts.models.serving

    await service.serves(service.publish(first))

    (after,) = service.app.state.parts.models.serving
    assert after.live.epoch == 2
    assert after.scorer is before.scorer


async def test_every_line_has_a_model_of_its_own(service: Service, second: Path) -> None:
    live = service.publish(second, line="legal")
    await service.serves(live)

    legal = await service.rerank(DOCUMENTS, model="legal")
    default = await service.rerank(DOCUMENTS)

    assert (legal["meta"]["version"], legal["meta"]["epoch"]) == (live.version, 1)
    assert default["meta"]["version"] != live.version


async def test_a_lower_epoch_is_never_served(
    service: Service, first: Path, second: Path, messenger: redis.Redis
) -> None:
    later = service.publish(second)
    await service.serves(later)
    earlier = Live(line="default", epoch=1, version=models.version(first))
    messenger.hset(
        Keys.of("default").state,
        mapping={"epoch": 1, "document": earlier.signed(secret=SECRET.encode())},
    )
    messenger.publish(Keys.of("default").wake, 1)

    await until(lambda: messenger.hget(Keys.of("default").state, "epoch") == "2")

    assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 2


FORGED: dict[str, str | bytes] = {
    "another signature": Live(line="default", epoch=99, version="x").signed(secret=b"another one"),
    "another line": Live(line="legal", epoch=99, version="x").signed(secret=SECRET.encode()),
    "no document": "",
    "JSON of another kind": json.dumps([1, 2]),
    "bytes": b"\xff\xfe",
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_pointer_is_ignored_and_put_right(
    service: Service, messenger: redis.Redis, name: str
) -> None:
    state = Keys.of("default").state

    messenger.hset(state, mapping={"epoch": 99, "document": FORGED[name]})
    messenger.publish(Keys.of("default").wake, 99)
    await until(lambda: messenger.hget(state, "epoch") == "1")

    assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 1
    assert service.metric("rankloop_swaps_total", line="default", outcome="forged") >= 0


async def test_a_state_that_is_no_hash_is_put_right(
    service: Service, messenger: redis.Redis
) -> None:
    messenger.set(Keys.of("default").state, "nonsense")

    await until(lambda: messenger.type(Keys.of("default").state) == "hash")

    assert messenger.hget(Keys.of("default").state, "epoch") == "1"


async def test_a_flushed_redis_is_told_again(service: Service, messenger: redis.Redis) -> None:
    state = Keys.of("default").state
    await until(lambda: messenger.hget(state, "epoch") == "1")

    messenger.flushall()
    await until(lambda: messenger.hget(state, "epoch") == "1")

    assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 1


@pytest.fixture
async def postgres(postgres_server: Any) -> AsyncIterator[Proxy]:
    host = Path(str(postgres_server.query["host"]))
    async with proxy.before(host / f".s.PGSQL.{postgres_server.query['port']}") as gate:
        yield gate


async def test_without_postgres_new_versions_come_by_redis(
    tmp_path: Path,
    engine: Engine,
    database_url: str,
    redis_url: str,
    postgres: Proxy,
    first: Path,
    second: Path,
) -> None:
    url = make_url(database_url).set(host="127.0.0.1", port=postgres.port, query={})
    settings = serving.settings(
        tmp_path,
        database_url=url.render_as_string(hide_password=False),
        redis_url=redis_url,
        service_drain_s=0.0,
    )
    async with serving.running(settings, engine) as service:
        await service.serves(service.publish(first))
        await postgres.cut()
        live = service.publish(second)
        service.announce(live)

        await service.serves(live)

        assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 2


async def test_without_redis_new_versions_come_by_polling(
    tmp_path: Path, engine: Engine, database_url: str, first: Path, second: Path
) -> None:
    settings = serving.settings(tmp_path, database_url=database_url)
    async with serving.running(settings, engine) as service:
        await service.serves(service.publish(first))

        await service.serves(service.publish(second))

        assert (await service.rerank(DOCUMENTS))["meta"]["epoch"] == 2
