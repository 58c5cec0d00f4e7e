"""No key reads or writes what is another tenant's, and none can tell it from what does not exist."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine, Select, Table, func, select

from contract import ids
from contract.model_tables import judge_leases
from contract.tables import answers, decisions, feedback, texts
from service import decisions as log
from service.keys import Scope
from tests import keyholders, models, serving
from tests.integration.conftest import a_decision, a_statement
from tests.keyholders import PEPPER, header
from tests.serving import Service

PAIRS = 10_000
IN_BATCHES = 6_000
"""Of the pairs; the others take a request each."""
BATCH = 300
AT_ONCE = 12
TENANTS = [f"tenant-{number}" for number in range(10)]
EACH = 40
RUBRIC = {"id": "tone", "version": "1"}
ANSWER = {"used_k": 1, "text": "Two years."}
ASKED = {"query": "who wrote it", "documents": ["a castle", "who knows", "zebra"]}


@pytest.fixture
async def service(tmp_path: Path, engine: Engine, database_url: str) -> AsyncIterator[Service]:
    models.make(tmp_path / "version")
    settings = serving.settings(
        tmp_path, database_url=database_url, service_require_keys=True, service_epsilon=0.5
    )
    async with serving.running(settings, engine) as service:
        service.place(tmp_path / "version")
        yield service


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A decision with its answer, one statement and one lease, or the ids of nothing."""

    tenant: str
    decision_id: UUID
    feedback_id: UUID
    lease_id: UUID


Pair: TypeAlias = tuple[str, Thing]
"""A tenant's key, and something that is its own or another's."""

NOTHING = Thing(tenant="nobody", decision_id=uuid4(), feedback_id=uuid4(), lease_id=uuid4())
DEEDS = ("read", "answer", "say", "retract", "nack")


class Tenants:
    """Everybody's keys, and a way to use them."""

    def __init__(self, service: Service, engine: Engine) -> None:
        self._client = service.client
        self._engine = service.app.state.parts.engine
        self._headers = {
            tenant: header(keyholders.make(engine, *Scope, tenant=tenant)) for tenant in TENANTS
        }

    async def ask(self, tenant: str, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self._client.request(method, path, json=body, headers=self._headers[tenant])

    async def things(self, tenant: str) -> list[Thing]:
        """Decided, answered, spoken of and leased."""
        made = [
            a_decision(id=ids.mint(tenant, secret=PEPPER, now=datetime.now(UTC)), tenant=tenant)
            for _ in range(EACH)
        ]
        async with self._engine.begin() as connection:
            await log.store(connection, made, keep_bodies=True)
        for decision in made:
            path = f"/v1/decisions/{decision.id}/answer"
            assert (await self.ask(tenant, "POST", path, ANSWER)).is_success
        said = await self.say_all(tenant, [a_statement(decision.id) for decision in made])
        lease = {"n": 64, "rubric": RUBRIC}
        tasks = (await self.ask(tenant, "POST", "/v1/judge/lease", lease)).json()["tasks"]
        leases = {task["decision_id"]: task["lease_id"] for task in tasks}
        return [
            Thing(
                tenant=tenant,
                decision_id=UUID(each["decision_id"]),
                feedback_id=UUID(each["feedback_id"]),
                lease_id=UUID(leases[each["decision_id"]]),
            )
            for each in said
        ]

    async def say_all(self, tenant: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        reply = await self.ask(tenant, "POST", "/v1/feedback/batch", {"items": items})
        results: list[dict[str, Any]] = reply.json()["results"]
        return results

    async def do(self, deed: str, tenant: str, thing: Thing) -> httpx.Response:
        """One of the deeds; what it leaves behind names the tenant whose key it was."""
        decision = f"/v1/decisions/{thing.decision_id}"
        retracted = f"/v1/feedback/{thing.feedback_id}?decision_id={thing.decision_id}"
        method, path, body = {
            "read": ("GET", decision, None),
            "answer": ("POST", f"{decision}/answer", ANSWER),
            "say": ("POST", "/v1/feedback", statement(tenant, thing)),
            "retract": ("DELETE", retracted, None),
            "nack": ("POST", f"/v1/judge/lease/{thing.lease_id}/nack", {"error": tenant}),
        }[deed]
        return await self.ask(tenant, method, path, body)


def statement(tenant: str, thing: Thing) -> dict[str, Any]:
    return a_statement(thing.decision_id, source={"type": "CODE", "id": tenant})


async def crossed_in_batches(tenants: Tenants, pairs: list[Pair]) -> list[Pair]:
    """The pairs whose statement had another fate than it should."""
    wrong = []
    for tenant in TENANTS:
        own = [pair for pair in pairs if pair[0] == tenant]
        for start in range(0, len(own), BATCH):
            some = [*own[start : start + BATCH], (tenant, NOTHING)]
            results = await tenants.say_all(tenant, [statement(*pair) for pair in some])
            unknown = results.pop()
            assert unknown["code"] == 404
            wrong += [
                pair
                for pair, result in zip(some[:-1], results, strict=True)
                if (result == unknown) is (pair[1].tenant == tenant)
            ]
    return wrong


async def crossed_one_by_one(tenants: Tenants, pairs: list[Pair]) -> list[tuple[str, Pair]]:
    """The deeds that went another way than they should: ours is done, another's is as what does not exist."""
    unknown = {deed: _seen(await tenants.do(deed, TENANTS[0], NOTHING)) for deed in DEEDS}
    assert {status for status, _ in unknown.values()} == {404}
    wrong = []

    async def some(share: list[tuple[str, Pair]]) -> None:
        for deed, (tenant, thing) in share:
            reply = await tenants.do(deed, tenant, thing)
            right = reply.is_success if tenant == thing.tenant else _seen(reply) == unknown[deed]
            if not right:
                wrong.append((deed, (tenant, thing)))

    deeds = [(DEEDS[place % len(DEEDS)], pair) for place, pair in enumerate(pairs)]
    await asyncio.gather(*(some(deeds[place::AT_ONCE]) for place in range(AT_ONCE)))
    return wrong


def _seen(reply: httpx.Response) -> tuple[int, bytes]:
    return reply.status_code, reply.content


async def test_ten_thousand_pairs_of_key_and_decision_cross_nowhere(
    service: Service, engine: Engine
):
    tenants, rng = Tenants(service, engine), random.Random(7)
    things = [thing for tenant in TENANTS for thing in await tenants.things(tenant)]
    pairs = [(rng.choice(TENANTS), rng.choice(things)) for _ in range(PAIRS)]

    crossed = await crossed_in_batches(tenants, pairs[:IN_BATCHES])
    crossed_alone = await crossed_one_by_one(tenants, pairs[IN_BATCHES:])

    assert (crossed, crossed_alone) == ([], [])
    said = pairs[:IN_BATCHES] + pairs[IN_BATCHES + DEEDS.index("say") :: len(DEEDS)]
    with engine.connect() as connection:
        by_code = select(func.count()).where(feedback.c.source_type == "CODE")
        assert connection.scalar(by_code) == sum(tenant == thing.tenant for tenant, thing in said)
        assert connection.scalar(_of_others(answers)) == 0
        assert connection.scalar(_of_others(feedback)) == 0
        marks = connection.execute(_nacked()).all()
    assert len(marks) > 50
    assert all(owner == by for owner, by in marks)


def _of_others(table: Table) -> Select[int]:
    """How many rows are about a decision of another tenant."""
    return (
        select(func.count())
        .select_from(table)
        .join(decisions, decisions.c.decision_id == table.c.decision_id)
        .where(decisions.c.tenant != table.c.tenant)
    )


def _nacked() -> Select[str, str | None]:
    """Whose each lease was that was given back, and who gave it."""
    return (
        select(decisions.c.tenant, judge_leases.c.error)
        .join(judge_leases, decisions.c.decision_id == judge_leases.c.decision_id)
        .where(judge_leases.c.error.is_not(None))
    )


async def test_a_batch_holds_each_statement_to_the_tenant_of_its_key(
    service: Service, engine: Engine
):
    tenants = Tenants(service, engine)
    ours, theirs = await tenants.things(TENANTS[0]), await tenants.things(TENANTS[1])
    items = [a_statement(thing.decision_id, name="topic") for thing in [*ours, *theirs]]

    reply = await tenants.ask(TENANTS[0], "POST", "/v1/feedback/batch", {"items": items})

    results = reply.json()["results"]
    assert [each["status"] for each in results] == ["stored"] * EACH + ["refused"] * EACH
    assert {each["code"] for each in results[EACH:]} == {404}


async def test_a_judge_leases_the_answers_of_its_tenant_alone(service: Service, engine: Engine):
    tenants = Tenants(service, engine)
    theirs = await tenants.things(TENANTS[0])
    ours = await tenants.things(TENANTS[1])
    lease = {"n": 64, "rubric": {"id": "another", "version": "1"}}

    tasks = (await tenants.ask(TENANTS[1], "POST", "/v1/judge/lease", lease)).json()["tasks"]

    leased = {UUID(task["decision_id"]) for task in tasks}
    assert leased == {thing.decision_id for thing in ours}
    assert not leased & {thing.decision_id for thing in theirs}


async def test_an_idempotency_key_is_the_tenants_own(service: Service, engine: Engine):
    keys = [keyholders.make(engine, Scope.RERANK, tenant=tenant) for tenant in TENANTS[:2]]

    first, second, again = [
        (
            await service.client.post(
                "/v1/rerank", json=ASKED, headers=header(key) | {"Idempotency-Key": "once"}
            )
        ).json()["id"]
        for key in (*keys, keys[0])
    ]

    assert first == again
    assert first != second


async def test_the_memory_of_repeats_is_the_tenants_own(service: Service, engine: Engine):
    keys = [keyholders.make(engine, Scope.RERANK, tenant=tenant) for tenant in TENANTS[:2]]
    body = ASKED | {"session_id": "visitor-17"}
    for key in (*keys, keys[0]):
        await service.client.post("/v1/rerank", json=body, headers=header(key))
    await service.logged()

    with engine.connect() as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.decision_id)).all()
        bodies = connection.execute(select(texts.c.tenant, texts.c.body)).all()

    assert [row.not_learnable for row in rows] == [None, None, "repeated"]
    assert rows[0].session_hash == rows[2].session_hash
    assert rows[0].session_hash != rows[1].session_hash
    # The same text, once for each tenant.
    assert sorted(row.tenant for row in bodies if row.body == "zebra") == TENANTS[:2]
