import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import event

from contract.records import Candidate
from service import matching
from tests.integration.conftest import Memory

QUERY = "How long is the warranty?"


async def match(memory: Memory, *used: str, **fields: Any) -> httpx.Response:
    asked = {"query": QUERY, "used": list(used)} | fields
    return await memory.client.post("/v1/decisions/match", json=asked)


async def test_a_decision_is_found_by_its_query_and_what_was_used(memory: Memory):
    decision = await memory.decide()

    reply = await match(memory, "Two years.", "One year.")

    assert reply.status_code == 200
    assert reply.json() == {"decision_id": str(decision.id), "used": [2, 0], "answered": False}


async def test_a_text_may_be_named_by_its_sha256(memory: Memory):
    decision = await memory.decide()

    reply = await match(memory, hashlib.sha256(b"Two years.").hexdigest())

    assert reply.json()["decision_id"] == str(decision.id)


async def test_the_newest_without_an_answer_is_meant(memory: Memory):
    now = datetime.now(UTC)
    older = await memory.decide(id=memory.mint(now - timedelta(seconds=2)))
    newer = await memory.decide(id=memory.mint(now - timedelta(seconds=1)))

    first = (await match(memory, "Two years.")).json()
    await memory.client.post(f"/v1/decisions/{newer.id}/answer", json={"used_k": 1})
    second = (await match(memory, "Two years.")).json()
    await memory.client.post(f"/v1/decisions/{older.id}/answer", json={"used_k": 1})
    third = (await match(memory, "Two years.")).json()

    assert [first["decision_id"], second["decision_id"]] == [str(newer.id), str(older.id)]
    assert third == {"decision_id": str(newer.id), "used": [2], "answered": True}


async def test_what_nobody_was_shown_matches_nothing(memory: Memory):
    await memory.decide()

    replies = [
        await match(memory, "Three years."),
        await match(memory, "Two years.", query="Another question"),
        await match(memory, "Two years.", "Three years."),
    ]

    assert [reply.status_code for reply in replies] == [404, 404, 404]


async def test_what_is_too_old_is_not_found(memory: Memory):
    await memory.decide(id=memory.mint(datetime.now(UTC) - timedelta(seconds=90)))

    assert (await match(memory, "Two years.", within_s=60)).status_code == 404
    assert (await match(memory, "Two years.", within_s=120)).status_code == 200


async def test_a_text_that_came_twice_is_named_by_where_it_was_shown_first(memory: Memory):
    texts = ("One year.", "Two years.", "Two years.")
    await memory.decide(candidates=tuple(Candidate(text=text) for text in texts))

    reply = await match(memory, "Two years.")  # shown were 2, 0, 1

    assert reply.json()["used"] == [2]


async def test_a_decision_that_did_not_show_a_text_hides_none_that_did(memory: Memory):
    now = datetime.now(UTC)
    shown = await memory.decide(id=memory.mint(now - timedelta(seconds=2)))
    choice = shown.choice
    shorter = replace(
        choice, shown=choice.shown[:1], cum_log_propensity=choice.cum_log_propensity[:1]
    )
    await memory.decide(id=memory.mint(now - timedelta(seconds=1)), choice=shorter)

    reply = await match(memory, "Two years.", "One year.")

    assert reply.json()["decision_id"] == str(shown.id)


async def test_of_many_decisions_that_it_may_be_a_few_are_fetched(memory: Memory):
    now = datetime.now(UTC)
    for seconds in range(matching.FEW + 5):
        await memory.decide(id=memory.mint(now - timedelta(seconds=60 - seconds)))
    fetched: list[int] = []

    def note(_: object, cursor: Any, statement: str, *__: object) -> None:
        if "FROM decisions" in statement:
            fetched.append(cursor.rowcount)

    event.listen(memory.engine.sync_engine, "after_cursor_execute", note)
    reply = await match(memory, "Two years.")

    assert reply.status_code == 200
    assert fetched == [matching.FEW]
