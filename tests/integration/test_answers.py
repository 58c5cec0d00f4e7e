import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Select, func, select

from contract.tables import answers, texts
from service.answers import Answers
from service.schemas.answers import Answer
from service.settings import LogText
from tests.integration.conftest import SECRET, Memory, a_decision


async def answer(memory: Memory, decision_id: UUID, **body: Any) -> httpx.Response:
    return await memory.client.post(f"/v1/decisions/{decision_id}/answer", json=body)


def count(memory: Memory) -> Select[int]:
    return select(func.count()).select_from(answers).where(answers.c.tenant == memory.name)


async def stored(memory: Memory, decision_id: UUID) -> Any:
    statement = select(answers).where(answers.c.decision_id == decision_id)
    async with memory.engine.connect() as connection:
        return (await connection.execute(statement)).one()


async def test_an_answer_is_stored_with_everything_it_says(memory: Memory):
    decision = await memory.decide()
    occurred_at = datetime(2026, 11, 24, 12, tzinfo=UTC)

    reply = await answer(
        memory,
        decision.id,
        used_k=2,
        text="Two years.",
        citations=[2],
        model="a-reader",
        prompt_version="7",
        latency_ms=812,
        occurred_at=occurred_at.isoformat(),
    )

    row = await stored(memory, decision.id)
    assert reply.status_code == 200
    assert reply.json() == {
        "decision_id": str(decision.id),
        "status": "stored",
        "used_k": 2,
        "used_is_prefix": True,
    }
    assert (row.used_k, row.used, row.citations) == (2, None, [2])
    assert (row.model, row.prompt_version, row.latency_ms) == ("a-reader", "7", 812.0)
    assert row.occurred_at == occurred_at
    async with memory.engine.connect() as connection:
        body = select(texts.c.body).where(texts.c.text_id == row.answer_text)
        assert await connection.scalar(body) == "Two years."


async def test_without_a_word_on_what_was_used_everything_shown_was(memory: Memory):
    decision = await memory.decide()

    reply = await answer(memory, decision.id, text="Two years.")

    assert reply.json()["used_k"] == 3


async def test_used_documents_count_as_a_prefix_only_in_the_order_shown(memory: Memory):
    prefixes: dict[tuple[int, ...], bool] = {(2, 0): True, (): True, (0, 2): False, (2, 1): False}
    for used, is_prefix in prefixes.items():
        decision = await memory.decide()

        reply = await answer(memory, decision.id, used=list(used))

        row = await stored(memory, decision.id)
        assert reply.json()["used_is_prefix"] is is_prefix
        assert (row.used_k, row.used) == (len(used), None if is_prefix else list(used))


async def test_the_same_answer_again_gets_the_same_reply_and_another_one_a_conflict(memory: Memory):
    decision = await memory.decide()

    first = await answer(memory, decision.id, used_k=2, text="Two years.", latency_ms=3)
    same = await answer(memory, decision.id, latency_ms=3.0, text="Two years.", used_k=2)
    other = await answer(memory, decision.id, used_k=1, text="Two years.", latency_ms=3)

    assert (first.status_code, same.status_code, other.status_code) == (200, 200, 409)
    assert first.json() == same.json()
    assert other.json()["type"] == "urn:rankloop:AnsweredOtherwise"
    assert (await stored(memory, decision.id)).used_k == 2


async def test_another_right_answer_is_another_answer(memory: Memory):
    decision = await memory.decide()

    replies = [
        await answer(memory, decision.id, text="Two years.", reference=reference)
        for reference in ("24 months.", "24 months.", "12 months.", None)
    ]

    assert [reply.status_code for reply in replies] == [200, 200, 409, 409]


@pytest.mark.parametrize(
    ("log_text", "bodies"),
    [
        (LogText.FULL, ["Two years.", "24 months."]),
        (LogText.HASH, [None, None]),
        (LogText.OFF, []),
    ],
)
async def test_the_right_answer_is_kept_as_the_answer_is(
    memory: Memory, log_text: LogText, bodies: list[str | None]
):
    decision = await memory.decide(keep=False)
    said = Answers(engine=memory.engine, tenant=memory.name, secret=SECRET, log_text=log_text)

    await said.store(decision.id, Answer(used_k=1, text="Two years.", reference="24 months."))

    row = await stored(memory, decision.id)
    ids = [each for each in (row.answer_text, row.reference_text) if each is not None]
    async with memory.engine.connect() as connection:
        kept = {each.text_id: each.body for each in await connection.execute(select(texts))}
    assert [kept[each] for each in ids] == bodies


async def test_an_answer_may_be_word_for_word_the_right_one(memory: Memory):
    decision = await memory.decide()

    await answer(memory, decision.id, text="Two years.", reference="Two years.")

    row = await stored(memory, decision.id)
    assert row.answer_text == row.reference_text


async def test_sixteen_racing_answers_store_one(memory: Memory):
    decision = await memory.decide()

    replies = await asyncio.gather(
        *(answer(memory, decision.id, used_k=1 + number % 2) for number in range(16))
    )

    codes = [reply.status_code for reply in replies]
    assert sorted(set(codes)) == [200, 409]
    assert codes.count(200) == codes.count(409) == 8
    async with memory.engine.connect() as connection:
        assert await connection.scalar(count(memory)) == 1


async def test_an_answer_may_come_before_its_decision(memory: Memory):
    decision_id = memory.mint()

    early = await answer(memory, decision_id, used=[0, 2])
    await memory.decide(id=decision_id)
    again = await answer(memory, decision_id, used=[0, 2])

    assert (early.status_code, early.json()["status"]) == (202, "pending")
    assert early.json()["used_is_prefix"] is None
    assert (again.status_code, again.json()["status"]) == (200, "stored")
    assert again.json()["used_is_prefix"] is False


async def test_an_early_answer_that_needs_its_decision_waits_for_it(memory: Memory):
    decision = a_decision(id=memory.mint(), tenant=memory.name)

    reply, _ = await asyncio.gather(answer(memory, decision.id), memory.land(decision))

    assert (reply.status_code, reply.json()["used_k"]) == (200, 3)


async def test_an_id_that_we_did_not_mint_is_unknown_and_an_old_one_is_gone(memory: Memory):
    too_old = memory.mint(datetime.now(UTC) - timedelta(seconds=61))

    for decision_id, status in ((uuid4(), 404), (too_old, 410)):
        reply = await answer(memory, decision_id, used_k=1)

        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/problem+json"


IMPOSSIBLE: list[Any] = [
    {"used_k": 4},
    {"used_k": -1},
    {"used_k": 1.5},
    {"used_k": "1"},
    {"used_k": True},
    {"used_k": 10**30},
    {"used": [3]},
    {"used": [0, 0]},
    {"used": [-1]},
    {"used": [0], "used_k": 1},
    {"citations": [3]},
    {"text": "NUL \x00 here"},
    {"text": "half a pair \ud800"},
    {"text": 5},
    {"reference": "NUL \x00 here"},
    {"reference": ["Two years."]},
    {"latency_ms": -1},
    {"latency_ms": "5"},
    {"latency_ms": float("nan")},
    {"occurred_at": 5},
    {"occurred_at": "2026-11-24T12:00:00"},
    {"surprise": 1},
    [],
    None,
]


async def test_an_answer_that_cannot_be_is_refused_and_nothing_is_stored(memory: Memory):
    decision = await memory.decide()

    for body in IMPOSSIBLE:
        reply = await memory.client.post(
            f"/v1/decisions/{decision.id}/answer",
            content=json.dumps(body),
            headers={"content-type": "application/json"},
        )

        assert reply.status_code == 422, body
        assert len(reply.content) <= 1024

    async with memory.engine.connect() as connection:
        assert await connection.scalar(count(memory)) == 0


async def test_what_is_no_json_or_no_number_is_refused(memory: Memory):
    decision = await memory.decide()

    for body in (b'{"latency_ms": 1e999}', b'{"used_k": ' + b"9" * 5000 + b"}", b"{", b"\xff", b""):
        reply = await memory.client.post(
            f"/v1/decisions/{decision.id}/answer",
            content=body,
            headers={"content-type": "application/json"},
        )

        assert reply.status_code in {400, 422}, body
        assert len(reply.content) <= 1024
