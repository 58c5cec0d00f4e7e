"""Who is let in, and to what: a whole service over a real database, with keys made as `rankloop keys` makes them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Engine, make_url, select, text

from contract import ids
from contract.model_tables import api_keys
from contract.tables import decisions, feedback, metadata
from service import feedback as service_feedback
from service import feedback_token, in_time, key_table, keys
from service.key_table import RotatedBefore, UnknownKey
from service.keys import ApiKey, Scope
from tests import keyholders, models, proxy, serving
from tests.integration.conftest import a_statement
from tests.keyholders import PEPPER, header
from tests.proxy import Proxy
from tests.serving import Service

HOUR = timedelta(hours=1)
ASKED = {"query": "who wrote it", "documents": ["a castle", "who knows"]}
OPEN = {"/healthz", "/readyz", "/metrics", "/info", "/health", "/ping"}
RUBRIC = {"id": "tone", "version": "1"}

ANYWHERE = "01936000-0000-7000-8000-000000000000"
CALLS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "rerank": ("POST", "/v1/rerank", ASKED),
    "answer": ("POST", f"/v1/decisions/{ANYWHERE}/answer", {"used_k": 1}),
    "read": ("GET", f"/v1/decisions/{ANYWHERE}", None),
    "match": ("POST", "/v1/decisions/match", {"query": "a", "used": ["b"]}),
    "flow": ("GET", "/v1/flow", None),
    "feedback": ("POST", "/v1/feedback", a_statement(UUID(ANYWHERE))),
    "batch": ("POST", "/v1/feedback/batch", {"items": [a_statement(UUID(ANYWHERE))]}),
    "retract": ("DELETE", f"/v1/feedback/{ANYWHERE}?decision_id={ANYWHERE}", None),
    "lease": ("POST", "/v1/judge/lease", {"rubric": RUBRIC}),
    "nack": ("POST", f"/v1/judge/lease/{ANYWHERE}/nack", {"error": "no"}),
    "lease_replays": ("POST", "/v1/judge/replays/lease", {"n": 1}),
    "replayed": ("POST", f"/v1/judge/replays/{ANYWHERE}", {"value": 0.5}),
    "nack_replay": ("POST", f"/v1/judge/replays/{ANYWHERE}/nack", {"error": "no"}),
    "models": ("GET", "/v1/models", None),
    "promotions": ("GET", "/v1/promotions", None),
    "runs": ("GET", "/v1/runs", None),
    "evaluations": ("GET", "/v1/evaluations", None),
    "replicas": ("GET", "/v1/replicas", None),
    "rollback": ("POST", "/v1/rollback", {"reason": "worse"}),
    "promote": ("POST", "/v1/promotions", {"version": "v1", "reason": "better"}),
    "canary": ("POST", "/v1/canary", {"version": "v1", "reason": "try"}),
    "end_canary": ("POST", "/v1/canary/end", {"reason": "worse"}),
    "hold_back": ("POST", "/v1/hold-back", {"share": 0.02, "reason": "measure"}),
    "freeze": ("POST", "/v1/freeze", {"reason": "wait"}),
    "rebuild": ("POST", "/v1/rebuild", {"reason": "poisoned"}),
    "quarantines": ("GET", "/v1/quarantines", None),
    "quarantine": (
        *("POST", "/v1/quarantines"),
        {"source": {"type": "CODE", "id": "a test"}, "reason": "wrong"},
    ),
}
ALLOWED = {
    Scope.RERANK: {"rerank", "answer", "read", "match", "flow", "models"},
    Scope.FEEDBACK: {"answer", "read", "match", "flow", "feedback", "batch", "retract"},
    Scope.JUDGE: {
        *("lease", "nack", "feedback", "batch"),
        *("lease_replays", "replayed", "nack_replay"),
    },
    Scope.OPERATE: {
        *("flow", "models", "promotions", "runs", "evaluations", "replicas"),
        *("rollback", "promote", "canary", "end_canary", "hold_back", "freeze"),
        *("quarantines", "quarantine", "rebuild"),
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.make(tmp_path / "version")
    return tmp_path / "version"


@asynccontextmanager
async def a_service(folder: Path, engine: Engine, **values: Any) -> AsyncIterator[Service]:
    settings = serving.settings(folder.parent, **{"service_require_keys": True} | values)
    async with serving.running(settings, engine) as service:
        service.place(folder)
        yield service


@pytest.fixture
async def service(folder: Path, engine: Engine, database_url: str) -> AsyncIterator[Service]:
    """One that nobody may use without a key."""
    async with a_service(folder, engine, database_url=database_url) as service:
        yield service


@pytest.fixture
async def private(folder: Path, engine: Engine, database_url: str) -> AsyncIterator[Service]:
    """One on the loopback address, as it starts by default."""
    values = {"database_url": database_url, "service_require_keys": None}
    async with a_service(folder, engine, **values) as service:
        yield service


@pytest.fixture
async def postgres(postgres_server: Any) -> AsyncIterator[Proxy]:
    host = Path(str(postgres_server.query["host"]))
    async with proxy.before(host / f".s.PGSQL.{postgres_server.query['port']}") as gate:
        yield gate


def through(gate: Proxy, database_url: str) -> str:
    url = make_url(database_url).set(host="127.0.0.1", port=gate.port, query={})
    return url.render_as_string(hide_password=False)


async def call(service: Service, name: str, headers: dict[str, str] | None = None) -> Any:
    method, path, body = CALLS[name]
    return await service.client.request(method, path, json=body, headers=headers)


async def rerank(service: Service, authorization: str | None = None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return await service.client.post("/v1/rerank", json=ASKED, headers=headers)


async def decided(service: Service, key: ApiKey) -> dict[str, Any]:
    """The reply to a rerank whose decision has landed."""
    reply = await rerank(service, f"Bearer {key.text}")
    assert reply.status_code == 200, reply.text
    await service.logged()
    body: dict[str, Any] = reply.json()
    return body


def refused(reply: httpx.Response) -> bool:
    """Whether it is the answer to somebody without a key that works."""
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    return (reply.status_code, reply.json()["type"]) == (401, "urn:rankloop:Unauthorized")


async def test_every_route_but_the_probes_takes_a_key(service: Service):
    document = (await service.client.get("/openapi.json")).json()
    asked = {
        (method.upper(), path): await service.client.request(
            method, re.sub(r"{\w+}", ANYWHERE, path)
        )
        for path, methods in document["paths"].items()
        for method in methods
    }

    closed = {path for (_, path), reply in asked.items() if reply.status_code == 401}

    assert closed == set(document["paths"]) - OPEN
    assert all(refused(reply) for (_, path), reply in asked.items() if path not in OPEN)


@pytest.mark.parametrize("scope", Scope)
async def test_a_scope_opens_its_routes_and_no_others(
    service: Service, engine: Engine, scope: Scope
):
    key = keyholders.make(engine, scope)

    replies = {name: await call(service, name, header(key)) for name in CALLS}

    forbidden = {name for name, reply in replies.items() if reply.status_code == 403}
    assert forbidden == CALLS.keys() - ALLOWED[scope]
    assert {replies[name].json()["type"] for name in forbidden} == {"urn:rankloop:Forbidden"}
    assert 401 not in {reply.status_code for reply in replies.values()}


async def test_several_scopes_add_up(service: Service, engine: Engine):
    key = keyholders.make(engine, Scope.RERANK, Scope.OPERATE)

    replies = {name: await call(service, name, header(key)) for name in CALLS}

    allowed = {name for name, reply in replies.items() if reply.status_code != 403}
    assert allowed == ALLOWED[Scope.RERANK] | ALLOWED[Scope.OPERATE]


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "{}", " {} "])
async def test_a_key_is_sent_after_bearer_or_alone(service: Service, engine: Engine, form: str):
    key = keyholders.make(engine, Scope.RERANK)

    assert (await rerank(service, form.format(key.text))).status_code == 200


async def test_a_wrong_key_is_refused_without_saying_what_is_wrong(
    service: Service, engine: Engine
):
    key, revoked = keyholders.make(engine, Scope.RERANK), keyholders.make(engine, Scope.RERANK)
    expired = keyholders.make(engine, Scope.RERANK, lifetime=-HOUR)
    keyholders.revoke(engine, revoked)
    wrong = ApiKey(key_id=key.key_id, secret=keys.mint().secret)

    replies = [
        await rerank(service, f"Bearer {each.text}")
        for each in (keys.mint(), wrong, revoked, expired)
    ]

    assert all(refused(reply) for reply in replies)
    assert len({reply.content for reply in replies}) == 1


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer co-1234", "Basic cmw6cmw=", "rl_"])
async def test_what_is_no_key_is_refused_where_one_is_needed(service: Service, authorization: str):
    assert refused(await rerank(service, authorization))


async def test_a_key_works_as_soon_as_it_is_made(service: Service, engine: Engine):
    statuses = []
    for _ in range(3):
        key = keyholders.make(engine, Scope.RERANK)
        statuses.append((await rerank(service, key.text)).status_code)

    assert statuses == [200] * 3


async def test_a_key_stops_when_it_expires(service: Service, engine: Engine):
    key = keyholders.make(engine, Scope.RERANK, lifetime=timedelta(seconds=3))
    before = await rerank(service, key.text)

    await asyncio.sleep(3)

    assert before.status_code == 200
    assert refused(await rerank(service, key.text))


async def test_a_rotated_key_works_beside_its_successor_for_the_grace_time(
    service: Service, engine: Engine
):
    old = keyholders.make(engine, Scope.RERANK)
    new = keyholders.rotate(engine, old, grace=timedelta(seconds=3))
    both = [(await rerank(service, key.text)).status_code for key in (new, old)]

    await asyncio.sleep(3)

    assert both == [200, 200]
    assert (await rerank(service, new.text)).status_code == 200
    assert refused(await rerank(service, old.text))


async def test_without_a_grace_time_only_the_successor_works(service: Service, engine: Engine):
    old = keyholders.make(engine, Scope.RERANK)
    new = keyholders.rotate(engine, old, grace=timedelta())

    assert (await rerank(service, new.text)).status_code == 200
    assert refused(await rerank(service, old.text))


def test_a_successor_is_as_its_key_was_and_lasts_as_long(engine: Engine):
    old = keyholders.make(engine, Scope.RERANK, Scope.JUDGE, lifetime=HOUR)
    new = keyholders.rotate(engine, old, grace=2 * HOUR)

    with engine.connect() as connection:
        rows = {row.key_id: row for row in key_table.listed(connection)}
    successor = rows[new.key_id]
    assert (successor.tenant, successor.scopes) == ("acme", ["judge", "rerank"])
    assert successor.rotated_from == old.key_id
    assert successor.expires_at - successor.created_at == HOUR
    # A grace time does not lengthen a life.
    assert rows[old.key_id].expires_at - rows[old.key_id].created_at == HOUR


def test_what_does_not_work_or_has_a_successor_is_not_rotated(engine: Engine):
    rotated, revoked = [keyholders.make(engine, Scope.RERANK) for _ in range(2)]
    expired = keyholders.make(engine, Scope.RERANK, lifetime=-HOUR)
    keyholders.rotate(engine, rotated, grace=HOUR)
    keyholders.revoke(engine, revoked)

    with pytest.raises(RotatedBefore):
        keyholders.rotate(engine, rotated, grace=HOUR)
    for key in (revoked, expired, keys.mint()):
        with pytest.raises(UnknownKey):
            keyholders.rotate(engine, key, grace=HOUR)
    for key in (revoked, keys.mint()):
        with pytest.raises(UnknownKey):
            keyholders.revoke(engine, key)


async def test_a_revocation_holds_within_5_s_on_every_replica(
    folder: Path, engine: Engine, database_url: str
):
    key = keyholders.make(engine, Scope.RERANK)
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(a_service(folder, engine, database_url=database_url))
            for _ in range(2)
        ]
        before = [(await rerank(replica, key.text)).status_code for replica in replicas]
        keyholders.revoke(engine, key)
        revoked_at = time.monotonic()

        still = set(range(2))
        while still and time.monotonic() - revoked_at < 5:
            await asyncio.sleep(0.1)
            still -= {i for i in still if (await rerank(replicas[i], key.text)).status_code == 401}

    assert before == [200, 200]
    assert still == set()


async def test_where_no_key_is_needed_everybody_is_the_default_tenant(
    private: Service, engine: Engine
):
    # What the clients of other rerankers send was never a key of ours.
    for authorization in (None, "Bearer co-1234", "Basic cmw6cmw="):
        assert (await rerank(private, authorization)).status_code == 200
    await private.logged()

    with engine.connect() as connection:
        assert set(connection.scalars(select(decisions.c.tenant))) == {"default"}


async def test_where_no_key_is_needed_one_that_is_sent_is_checked(private: Service, engine: Engine):
    body = await decided(private, keyholders.make(engine, Scope.RERANK))
    stranger = await rerank(private, keys.mint().text)
    operator = await rerank(private, keyholders.make(engine, Scope.OPERATE).text)

    with engine.connect() as connection:
        tenant = connection.scalar(
            select(decisions.c.tenant).where(decisions.c.decision_id == UUID(body["id"]))
        )
    assert tenant == "acme"
    assert refused(stranger)
    assert operator.status_code == 403


async def test_while_postgres_is_away_known_keys_work_and_unknown_ones_are_told_to_come_back(
    postgres: Proxy, folder: Path, engine: Engine, database_url: str
):
    key = keyholders.make(engine, Scope.RERANK)
    async with a_service(folder, engine, database_url=through(postgres, database_url)) as service:
        before = await rerank(service, key.text)
        await postgres.cut()

        known = await rerank(service, key.text)
        unknown = await rerank(service, keys.mint().text)
        await postgres.restore()
        afterwards = await rerank(service, keyholders.make(engine, Scope.RERANK).text)

    assert (before.status_code, known.status_code, afterwards.status_code) == (200, 200, 200)
    assert (unknown.status_code, unknown.json()["type"]) == (503, "urn:rankloop:DatabaseAway")
    assert int(unknown.headers["Retry-After"]) > 0


async def test_a_frozen_postgres_keeps_no_request_waiting_for_long(
    postgres: Proxy, folder: Path, engine: Engine, database_url: str
):
    key = keyholders.make(engine, Scope.RERANK)
    async with a_service(folder, engine, database_url=through(postgres, database_url)) as service:
        await rerank(service, key.text)
        postgres.freeze()

        start = time.monotonic()
        known = await rerank(service, key.text)
        at_once = time.monotonic() - start
        unknown = await rerank(service, keys.mint().text)
        waited = time.monotonic() - start
        await postgres.restore()

    assert (known.status_code, unknown.status_code) == (200, 503)
    assert at_once < 1
    assert waited < 5


async def test_a_frozen_postgres_acknowledges_nothing_and_says_so_in_time(
    postgres: Proxy,
    folder: Path,
    engine: Engine,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(in_time, "WAIT_S", 0.5)
    key = keyholders.make(engine, Scope.RERANK, Scope.FEEDBACK)
    url = through(postgres, database_url)
    async with a_service(folder, engine, database_url=url, service_drain_s=0.0) as service:
        await rerank(service, key.text)
        postgres.freeze()

        for name in ("feedback", "answer", "read"):
            response = await call(service, name, {"Authorization": key.text})
            assert (response.status_code, response.json()["type"]) == (
                *(503, "urn:rankloop:DatabaseAway"),
            )
        await postgres.restore()


async def test_while_postgres_stays_away_keys_work_for_so_long_and_no_longer(
    postgres: Proxy, folder: Path, engine: Engine, database_url: str
):
    key = keyholders.make(engine, Scope.RERANK)
    url = through(postgres, database_url)
    async with a_service(
        folder, engine, database_url=url, service_keys_hold_s=3.0, service_drain_s=0.0
    ) as service:
        await rerank(service, key.text)
        await postgres.cut()
        meanwhile = await rerank(service, key.text)

        await asyncio.sleep(3)
        too_long = await rerank(service, key.text)
        await postgres.restore()

    assert (meanwhile.status_code, too_long.status_code) == (200, 503)


async def test_the_key_is_nowhere_in_the_database(service: Service, engine: Engine):
    key = keyholders.make(engine, *Scope)
    new = keyholders.rotate(engine, key, grace=HOUR)
    body = await decided(service, new)
    said = a_statement(UUID(body["id"]))
    assert (await service.client.post("/v1/feedback", json=said, headers=header(key))).is_success

    with engine.connect() as connection:
        stored = "\n".join(
            row
            for table in metadata.sorted_tables
            for row in connection.scalars(text(f"SELECT t::text FROM {table.name} t"))  # noqa: S608 - ours
        )
        digest = connection.scalar(
            select(api_keys.c.secret_hmac).where(api_keys.c.key_id == key.key_id)
        )

    assert body["id"] in stored
    for each in (key, new):
        assert each.key_id in stored
        assert each.secret not in stored
        assert each.secret.encode().hex() not in stored
    assert digest == key.digest(PEPPER)


async def test_a_token_lets_a_browser_speak_of_its_decision_as_its_user(
    service: Service, engine: Engine
):
    body = await decided(service, keyholders.make(engine, Scope.RERANK))
    said = a_statement(UUID(body["id"]))

    reply = await service.client.post(
        "/v1/feedback", json=said, headers=header(body["meta"]["feedback_token"])
    )

    assert (reply.status_code, reply.json()["status"]) == (200, "stored")
    with engine.connect() as connection:
        (row,) = connection.execute(select(feedback)).all()
    assert (row.tenant, row.source_type) == ("acme", "END_USER")


async def test_a_token_is_good_before_its_decision_has_landed(service: Service):
    decision_id = ids.mint("acme", secret=PEPPER, now=datetime.now(UTC))
    token = feedback_token.mint(
        decision_id, "acme", secret=PEPPER, expires_at=datetime.now(UTC) + HOUR
    )

    reply = await service.client.post(
        "/v1/feedback", json=a_statement(decision_id), headers=header(token)
    )

    assert (reply.status_code, reply.json()["status"]) == (202, "pending")


async def test_a_token_is_good_for_so_many_statements(
    service: Service, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service_feedback, "MOST_BY_USERS", 2)
    body = await decided(service, keyholders.make(engine, Scope.RERANK))
    token = header(body["meta"]["feedback_token"])
    statement = a_statement(UUID(body["id"]))

    statuses = [
        (await service.client.post("/v1/feedback", json=statement, headers=token)).status_code
        for _ in range(3)
    ]

    assert statuses == [200, 200, 409]


@pytest.mark.parametrize("kind", ["HUMAN", "LLM_JUDGE", "CODE"])
async def test_with_a_token_nobody_speaks_as_somebody_else(
    service: Service, engine: Engine, kind: str
):
    body = await decided(service, keyholders.make(engine, Scope.RERANK))
    said = a_statement(UUID(body["id"]), source={"type": kind, "id": "widget"})

    reply = await service.client.post(
        "/v1/feedback", json=said, headers=header(body["meta"]["feedback_token"])
    )

    assert reply.status_code == 403


async def test_a_token_is_for_its_decision_and_for_nothing_else(service: Service, engine: Engine):
    key = keyholders.make(engine, Scope.RERANK)
    body, other = await decided(service, key), await decided(service, key)
    token = header(body["meta"]["feedback_token"])

    elsewhere = await service.client.post(
        "/v1/feedback", json=a_statement(UUID(other["id"])), headers=token
    )
    own = {name: await call(service, name, token) for name in CALLS.keys() - {"feedback"}}
    read = await service.client.get(f"/v1/decisions/{body['id']}", headers=token)

    assert elsewhere.status_code == 403
    assert {reply.status_code for reply in own.values()} == {403}
    assert read.status_code == 403


async def test_a_token_that_is_over_or_not_ours_is_no_token(service: Service, engine: Engine):
    body = await decided(service, keyholders.make(engine, Scope.RERANK))
    decision_id, now = UUID(body["id"]), datetime.now(UTC)
    over = feedback_token.mint(decision_id, "acme", secret=PEPPER, expires_at=now - HOUR)
    forged = feedback_token.mint(decision_id, "acme", secret=b"another", expires_at=now + HOUR)

    for token in (over, forged, "rlf_"):
        reply = await service.client.post(
            "/v1/feedback", json=a_statement(decision_id), headers=header(token)
        )
        assert refused(reply)


async def test_pages_of_the_named_origins_may_post_and_no_others(
    folder: Path, engine: Engine, database_url: str
):
    values = {"database_url": database_url, "service_cors_origins": ("https://app.example",)}
    async with a_service(folder, engine, **values) as service:
        asked = {
            origin: await service.client.options(
                "/v1/feedback",
                headers={
                    "Origin": origin,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "authorization,content-type",
                },
            )
            for origin in ("https://app.example", "https://elsewhere.example")
        }
        posted = await service.client.post(
            "/v1/feedback", headers={"Origin": "https://app.example"}
        )

    allowed = {
        origin: reply.headers.get("Access-Control-Allow-Origin") for origin, reply in asked.items()
    }
    assert allowed == {
        "https://app.example": "https://app.example",
        "https://elsewhere.example": None,
    }
    # A page may read why it was refused.
    assert posted.status_code == 401
    assert posted.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_without_named_origins_no_page_of_another_is_answered(service: Service):
    reply = await service.client.options(
        "/v1/feedback",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST"},
    )

    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/feedback", a_statement(UUID(ANYWHERE))),
        (f"/v1/decisions/{ANYWHERE}/answer", {"used_k": 1}),
    ],
)
async def test_a_body_has_nothing_to_say_about_the_tenant(
    service: Service, engine: Engine, path: str, body: dict[str, Any]
):
    key = keyholders.make(engine, *Scope)

    reply = await service.client.post(path, json=body | {"tenant": "another"}, headers=header(key))

    assert reply.status_code == 422
    assert "tenant" in reply.json()["detail"]


async def test_a_ranking_is_the_keys_tenants_whatever_its_body_says(
    service: Service, engine: Engine
):
    own, others = (keyholders.make(engine, *Scope, tenant=name) for name in ("acme", "another"))

    ranked = await service.client.post(
        "/v1/rerank", json=ASKED | {"tenant": "another"}, headers=header(own)
    )
    await service.logged()
    path = f"/v1/decisions/{ranked.json()['id']}"
    replies = [await service.client.get(path, headers=header(key)) for key in (own, others)]

    assert [reply.status_code for reply in replies] == [200, 404]
