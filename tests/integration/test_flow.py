from typing import Any

from sqlalchemy import insert

from contract.records import NotLearnable
from contract.tables import rewards
from tests.integration.conftest import Memory


async def flow(memory: Memory, **asked: Any) -> dict[str, Any]:
    reply = await memory.client.get("/v1/flow", params=asked)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def answer(memory: Memory, decision_id: object, **body: Any) -> None:
    reply = await memory.client.post(f"/v1/decisions/{decision_id}/answer", json=body)
    assert reply.status_code == 200


async def test_what_passes_through_the_loop_is_counted(memory: Memory):
    first, second, third = [await memory.decide() for _ in range(3)]
    await memory.decide(query="another", not_learnable=NotLearnable.EXPLORE_NEVER)
    await answer(memory, first.id, used_k=2, text="Two years.", citations=[2])
    await answer(memory, second.id, used=[1])  # shown were 2, 0, 1
    await memory.say(first.id)
    await memory.say(third.id)
    row = {"spec_id": "s", "spec_version": 1, "revision": 1, "line": memory.name}
    async with memory.engine.begin() as connection:
        for decision in (first, second):
            said = {"decision_id": decision.id, "reward": 1.0, "feedback_count": 1}
            await connection.execute(insert(rewards).values(row | said))

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
