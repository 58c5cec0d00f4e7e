import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import insert

from contract import ids
from contract.policy import Choice
from contract.records import NotLearnable
from contract.tables import rewards, training_runs
from tests.integration.conftest import SECRET, Memory, a_decision


async def read(memory: Memory, decision_id: UUID) -> dict[str, Any]:
    reply = await memory.client.get(f"/v1/decisions/{decision_id}")
    assert reply.status_code == 200
    body: dict[str, Any] = reply.json()
    return body


async def answer(memory: Memory, decision_id: UUID, **body: Any) -> None:
    reply = await memory.client.post(f"/v1/decisions/{decision_id}/answer", json=body)
    assert reply.status_code == 200


async def reward(memory: Memory, decision_id: UUID, value: float | None, revision: int = 1) -> int:
    """Its transaction's id."""
    row = {
        "decision_id": decision_id,
        "spec_id": "answer_quality",
        "spec_version": 1,
        "revision": revision,
        "line": memory.name,
        "reward": value,
        "feedback_count": 1,
        "credits": [None, None, 0.5],
    }
    async with memory.engine.begin() as connection:
        inserted = await connection.execute(insert(rewards).values(row).returning(rewards.c.xid))
        return int(inserted.scalar_one())


async def run(memory: Memory, xid_from: int, xid_to: int, status: str = "rejected") -> UUID:
    row = {
        "run_id": uuid4(),
        "line": memory.name,
        "champion": "v1",
        "fencing_token": 1,
        "status": status,
        "seed": 0,
        "spec_id": "answer_quality",
        "spec_version": 1,
        "xid_from": xid_from,
        "xid_to": xid_to,
        "ended_at": datetime.now(UTC),
    }
    async with memory.engine.begin() as connection:
        await connection.execute(insert(training_runs).values(row))
    return UUID(str(row["run_id"]))


async def test_a_decision_is_told_as_it_was_made(memory: Memory):
    decision = await memory.decide(tags={"page": "help"})

    told = await read(memory, decision.id)

    assert told["query"] == "How long is the warranty?"
    assert told["candidates"][2] == {
        "index": 2,
        "id": "new",
        "text": "Two years.",
        "score": 1.0,
        "logit": 2.0,
    }
    assert told["shown"] == [2, 0, 1]
    # A coin, and a softmax over what is left at each step.
    a, b, c = np.exp([2.0, 1.0, 0.5])
    drawn = [a / (a + b + c), a / (a + b + c) * b / (b + c), a / (a + b + c) * b / (b + c)]
    assert told["propensities"] == pytest.approx([0.5 + 0.5 * p for p in drawn])
    assert told["policy"] == {"epsilon": 0.5, "temperature": 1.0, "sampled": 3, "max_fall": None}
    assert (told["version"], told["epoch"], told["arm"]) == ("v1", 1, "champion")
    assert (told["answer"], told["feedback"], told["reward"]) == (None, [], None)
    assert told["tags"] == {"page": "help"}
    assert told["learning"]["state"] == "window_open"


async def test_the_answer_the_feedback_and_the_reward_are_told_with_it(memory: Memory):
    decision = await memory.decide()
    said = {"text": "Two years.", "reference": "24 months."}
    await answer(memory, decision.id, used_k=2, citations=[2], **said)
    await memory.say(decision.id, value=True)
    await memory.say(decision.id, name="relevance", value=0.5, document={"index": 2})
    await memory.say(decision.id, name="topic", value="warranty")
    await reward(memory, decision.id, 0.0)
    await reward(memory, decision.id, 1.0, revision=2)

    told = await read(memory, decision.id)

    assert told["answer"]["used"] == [2, 0]
    assert {name: told["answer"][name] for name in said} == said
    assert [each["value"] for each in told["feedback"]] == [True, 0.5, "warranty"]
    assert told["feedback"][1]["document"] == 2
    assert (told["reward"]["value"], told["reward"]["revision"]) == (1.0, 2)
    assert told["reward"]["spec"] == "answer_quality@1"
    assert told["reward"]["credits"] == [None, None, 0.5]


async def test_it_was_learned_from_in_the_runs_whose_window_holds_its_reward(memory: Memory):
    decision = await memory.decide()
    before = await read(memory, decision.id)
    xid = await reward(memory, decision.id, 1.0)
    waiting = await read(memory, decision.id)
    await run(memory, 0, xid)
    await run(memory, xid, xid + 1, status="failed")
    used = [await run(memory, xid, xid + 1), await run(memory, 0, xid + 1, status="promoted")]

    learned = await read(memory, decision.id)

    assert before["learning"]["state"] == "window_open"
    assert waiting["learning"]["state"] == "waiting"
    assert learned["learning"]["state"] == "learned"
    assert learned["learning"]["runs"] == [str(each) for each in used]


async def test_it_says_why_nothing_can_be_learned(memory: Memory):
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    never = await memory.decide(not_learnable=NotLearnable.EXPLORE_NEVER)
    other_order = await memory.decide()
    await answer(memory, other_order.id, used=[0, 2])
    nothing = await memory.decide()
    await answer(memory, nothing.id, used_k=0)
    silence = await memory.decide(id=memory.mint(long_ago))
    withdrawn = await memory.decide(id=memory.mint(long_ago))
    await reward(memory, withdrawn.id, None)
    true = never.choice
    off = Choice(
        shown=true.shown, cum_log_propensity=true.cum_log_propensity - 0.01, explored=False
    )
    wrong = await memory.decide(choice=off)

    states = [
        (await read(memory, each.id))["learning"]["state"]
        for each in (never, other_order, nothing, silence, withdrawn, wrong)
    ]

    assert states == [
        *("not_learnable", "not_a_prefix", "nothing_used", "unobserved", "unobserved"),
        "quarantined",
    ]


async def test_an_early_answer_in_the_order_shown_is_a_prefix(memory: Memory):
    decision = a_decision(id=memory.mint(), tenant=memory.name, line=memory.name)
    path = f"/v1/decisions/{decision.id}/answer"
    await memory.client.post(path, json={"used": [2, 0]})
    await memory.land(decision)

    told = await read(memory, decision.id)

    assert told["answer"]["used"] == [2, 0]
    assert told["learning"]["state"] == "window_open"


async def test_where_texts_are_not_kept_they_are_not_told(memory: Memory):
    decision = await memory.decide(query="Kept nowhere?", keep=False)

    told = await read(memory, decision.id)

    assert told["query"] is None
    assert told["learning"]["state"] == "text_not_kept"


async def test_a_decision_on_its_way_is_waited_for(memory: Memory):
    decision = a_decision(id=memory.mint(), tenant=memory.name)

    told, _ = await asyncio.gather(read(memory, decision.id), memory.land(decision))

    assert told["id"] == str(decision.id)


async def test_what_is_nobodys_is_unknown_and_so_is_what_is_no_id(memory: Memory):
    purged_id = memory.mint(datetime.now(UTC) - timedelta(days=90))
    foreign_id = ids.mint("another", secret=SECRET, now=datetime.now(UTC))
    await memory.decide(id=foreign_id, tenant="another")

    unknown = await memory.client.get(f"/v1/decisions/{uuid4()}")
    foreign = await memory.client.get(f"/v1/decisions/{foreign_id}")
    purged = await memory.client.get(f"/v1/decisions/{purged_id}")
    nonsense = await memory.client.get("/v1/decisions/5")

    assert (unknown.status_code, foreign.status_code, nonsense.status_code) == (404, 404, 404)
    assert purged.status_code == 410
