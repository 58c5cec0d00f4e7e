from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, insert, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from contract import ids
from contract.records import NotLearnable
from contract.tables import decisions, rewards
from rankloop import doctor
from service import flow as flows
from service import stores
from service.flow import Flows
from tests.integration.conftest import Memory


async def flow(memory: Memory, **asked: Any) -> dict[str, Any]:
    reply = await memory.client.get("/v1/flow", params=asked)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def answer(memory: Memory, decision_id: object, **body: Any) -> None:
    reply = await memory.client.post(f"/v1/decisions/{decision_id}/answer", json=body)
    assert reply.is_success


async def reward(memory: Memory, *decision_ids: object) -> None:
    row = {"spec_id": "s", "spec_version": 1, "revision": 1, "line": memory.name}
    async with memory.engine.begin() as connection:
        for decision_id in decision_ids:
            said = {"decision_id": decision_id, "reward": 1.0, "feedback_count": 1}
            await connection.execute(insert(rewards).values(row | said))


async def test_what_passes_through_the_loop_is_counted(memory: Memory):
    first, second, third = [await memory.decide() for _ in range(3)]
    await memory.decide(query="another", not_learnable=NotLearnable.EXPLORE_NEVER)
    await answer(memory, first.id, used_k=2, text="Two years.", citations=[2])
    await answer(memory, second.id, used=[1])  # shown were 2, 0, 1
    await memory.say(first.id)
    await memory.say(third.id)
    await reward(memory, first.id, second.id)

    found = await flow(memory)

    assert found.pop("oldest_age_s") > 0
    assert found == {
        "line": memory.name,
        "within_s": 86_400.0,
        "decisions": 4,
        "explored": 0,
        "not_learnable": {"explore_never": 1},
        "with_scores": 4,
        "queries": 2,
        "answered": 2,
        "answered_with_text": 1,
        "answered_with_citations": 1,
        "not_a_prefix": 1,
        "spoken_of": 2,
        "rewarded": 2,
        "learnable": 1,  # of the rewarded ones, the second used no prefix
    }


async def test_a_line_without_decisions_has_none(memory: Memory):
    found = await flow(memory, line="quiet", within_s=60)

    assert found["decisions"] == found["answered"] == 0
    assert found["oldest_age_s"] is None


async def test_an_answer_that_came_before_its_decision_may_have_used_a_prefix(memory: Memory):
    prefix, nothing, other = [memory.mint() for _ in range(3)]
    await answer(memory, prefix, used=[2, 0])  # shown will be 2, 0, 1
    await answer(memory, nothing, used=[])
    await answer(memory, other, used=[0, 2])
    for decision_id in (prefix, nothing, other):
        await memory.decide(id=decision_id)
    await reward(memory, prefix, other)

    found = await flow(memory)

    assert (found["answered"], found["not_a_prefix"], found["learnable"]) == (3, 1, 1)


async def test_the_last_word_on_a_reward_counts(memory: Memory):
    decision = await memory.decide()
    await reward(memory, decision.id)
    withdrawn = {"decision_id": decision.id, "reward": None, "feedback_count": 0}
    row = {"spec_id": "s", "spec_version": 1, "revision": 2, "line": memory.name}
    async with memory.engine.begin() as connection:
        await connection.execute(insert(rewards).values(row | withdrawn))

    assert (await flow(memory))["rewarded"] == 0


async def test_what_the_doctor_asked_is_not_counted(memory: Memory):
    await memory.decide(tags=flows.PROBE, not_learnable=NotLearnable.EXPLORE_NEVER)
    await memory.decide(tags={"by": "somebody"})

    found = await flow(memory)

    assert (found["decisions"], found["not_learnable"]) == (1, {})
    assert doctor.PROBE["tags"] == flows.PROBE


async def test_counting_that_takes_too_long_is_given_up(memory: Memory):
    impatient = Flows(engine=memory.engine, tenant=memory.name, patience_s=0.1)
    memory.app.dependency_overrides[stores.the_flows] = lambda: impatient

    async with memory.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE"))
        reply = await memory.client.get("/v1/flow")

    assert reply.status_code == 503
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["type"] == "urn:rankloop:TooManyToCount"
    assert "within_s" in reply.json()["detail"]
    assert int(reply.headers["retry-after"]) >= 60


async def planned(engine: AsyncEngine, statement: Select[*tuple[Any, ...]]) -> str:
    """How Postgres would go about it."""
    compiled = statement.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN {compiled}")
        return "\n".join(row[0] for row in rows)


async def test_no_partition_of_days_before_is_read(memory: Memory):
    now = datetime.now(UTC)
    since = ids.earliest(now)

    plan = await planned(memory.engine, flows._counts(decisions.c.decision_id >= since, since))

    for table in ("decisions", "answers", "feedback", "rewards"):
        assert f"{table}_{now:%Y%m%d}" in plan
        assert f"{table}_{now - timedelta(days=1):%Y%m%d}" not in plan


def test_the_last_reward_is_looked_up_once():
    since = ids.earliest(datetime.now(UTC))

    counts = flows._counts(decisions.c.decision_id >= since, since)

    statement = str(counts.compile(dialect=postgresql.dialect()))
    assert statement.count("ORDER BY rewards.revision DESC") == 1
