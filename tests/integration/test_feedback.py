import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from contract.tables import feedback, rewards
from service import dependencies
from tests.integration.conftest import Memory, a_statement


async def rows(memory: Memory) -> list[Any]:
    own = select(feedback).where(feedback.c.tenant == memory.name)
    async with memory.engine.connect() as connection:
        found = await connection.execute(own.order_by(feedback.c.received_at))
        return list(found.all())


async def said(memory: Memory, body: Any, **headers: str) -> httpx.Response:
    return await memory.client.post("/v1/feedback", json=body, headers=headers)


async def reward(memory: Memory, decision_id: UUID) -> None:
    row = {"decision_id": decision_id, "spec_id": "s", "spec_version": 1, "revision": 1}
    async with memory.engine.begin() as connection:
        await connection.execute(insert(rewards).values(row | {"reward": 1, "feedback_count": 1}))


async def test_a_statement_is_stored_with_everything_it_says(memory: Memory):
    decision = await memory.decide()
    judge = {
        "rubric": {"id": "quality", "version": "1", "sha256": "a" * 64},
        "model": "a-judge",
        "confidence": 0.5,
        "usage": {"prompt_tokens": 7},
    }

    reply = await memory.say(
        decision.id,
        name="relevance",
        value=0.25,
        document={"id": "new"},
        source={"type": "LLM_JUDGE", "id": "quality@1"},
        rationale="It says two years.",
        metadata={"page": 3, "nested": {"deep": [None, True]}},
        occurred_at="2026-11-24T12:00:00Z",
        judge=judge,
    )

    (row,) = await rows(memory)
    assert (reply.status_code, reply.json()["status"]) == (200, "stored")
    assert reply.json()["feedback_id"] == str(row.feedback_id)
    assert (row.document, row.name, row.num_value, row.value_type) == (
        *(2, "relevance", 0.25, "number"),
    )
    assert (row.source_type, row.source_id) == ("LLM_JUDGE", "quality@1")
    assert row.rationale == "It says two years."
    assert row.metadata == {"page": 3, "nested": {"deep": [None, True]}}
    assert row.judge["rubric"] == judge["rubric"]
    assert row.judge["usage"] == {"prompt_tokens": 7}
    assert row.occurred_at == datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert (row.late, row.pending, row.retracted) == (False, False, False)


async def test_a_value_is_a_number_a_boolean_or_a_word(memory: Memory):
    decision = await memory.decide()

    for value in (True, False, 1, -2.5, 0, "wrong product"):
        await memory.say(decision.id, value=value)

    kept = [(row.value_type, row.num_value, row.str_value) for row in await rows(memory)]
    assert kept == [
        ("boolean", 1.0, None),
        ("boolean", 0.0, None),
        ("number", 1.0, None),
        ("number", -2.5, None),
        ("number", 0.0, None),
        ("string", None, "wrong product"),
    ]


async def test_an_error_is_stored_as_unobserved(memory: Memory):
    decision = await memory.decide()

    reply = await memory.say(decision.id, value=None, error="the judge timed out")

    (row,) = await rows(memory)
    assert reply.status_code == 200
    assert (row.value_type, row.error) == (None, {"message": "the judge timed out"})


async def test_the_same_id_again_replays_and_another_body_is_refused(memory: Memory):
    decision, own = await memory.decide(), str(uuid4())

    first = await memory.say(decision.id, id=own, value=1)
    same = await memory.say(decision.id, id=own, value=1.0)
    other = await memory.say(decision.id, id=own, value=0)
    by_another_source = await memory.say(
        decision.id, id=own, value=1, source={"type": "HUMAN", "id": "widget"}
    )

    assert first.json() == {"feedback_id": own, "decision_id": str(decision.id), "status": "stored"}
    assert same.json() == first.json() | {"status": "duplicate"}
    for refused in (other, by_another_source):
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:rankloop:KeyReused")
    assert len(await rows(memory)) == 1


async def test_an_idempotency_key_does_what_an_id_does_for_each_decision_and_source(memory: Memory):
    one, two = await memory.decide(), await memory.decide()
    key = {"Idempotency-Key": "k"}

    first = await said(memory, a_statement(one.id), **key)
    same = await said(memory, a_statement(one.id), **key)
    other = await said(memory, a_statement(one.id, value=False), **key)
    elsewhere = await said(memory, a_statement(two.id, value=False), **key)

    assert same.json() == first.json() | {"status": "duplicate"}
    assert other.status_code == 422
    assert elsewhere.json()["status"] == "stored"


async def test_without_an_id_or_key_everybody_is_heard(memory: Memory):
    decision = await memory.decide()

    replies = [await memory.say(decision.id) for _ in range(2)]

    assert [reply.json()["status"] for reply in replies] == ["stored", "stored"]


async def test_sixteen_racing_posts_store_one_row(memory: Memory):
    decision = await memory.decide()
    body = a_statement(decision.id, id=str(uuid4()))

    replies = await asyncio.gather(*(said(memory, body) for _ in range(16)))

    assert {reply.status_code for reply in replies} == {200}
    statuses = [reply.json()["status"] for reply in replies]
    assert (statuses.count("stored"), statuses.count("duplicate")) == (1, 15)
    assert len(await rows(memory)) == 1


async def test_racing_batches_with_the_same_statements_in_any_order_store_each_once(memory: Memory):
    decisions = [await memory.decide() for _ in range(4)]
    items = [a_statement(each.id, id=str(uuid4())) for each in decisions for _ in range(5)]

    replies = await asyncio.gather(
        *(
            memory.client.post("/v1/feedback/batch", json={"items": order})
            for order in (items, items[::-1], items[10:] + items[:10], items)
        )
    )

    statuses = [result["status"] for reply in replies for result in reply.json()["results"]]
    assert (statuses.count("stored"), statuses.count("duplicate")) == (20, 60)
    assert len(await rows(memory)) == 20


async def test_feedback_may_come_before_its_decision(memory: Memory):
    decision_id, other = memory.mint(), memory.mint()

    early = await memory.say(decision_id, document={"index": 7}, supersedes=str(uuid4()))
    by_id = await memory.say(other, document={"id": "new"})

    (row,) = await rows(memory)
    assert (early.status_code, early.json()["status"]) == (202, "pending")
    assert (row.pending, row.document) == (True, 7)
    assert (by_id.status_code, by_id.headers["Retry-After"] in {"1", "2"}) == (409, True)


async def test_a_decision_nobody_can_know_is_unknown(memory: Memory):
    for decision_id in (uuid4(), UUID(int=2**128 - 1), UUID(int=0)):
        assert (await memory.say(decision_id)).status_code == 404

    assert await rows(memory) == []


async def test_a_decision_of_ours_that_is_not_stored_after_a_minute_is_gone(memory: Memory):
    gone = memory.mint(datetime.now(UTC) - timedelta(seconds=61))

    said = await memory.say(gone)

    assert (said.status_code, said.json()["type"]) == (410, "urn:rankloop:DecisionGone")
    assert await rows(memory) == []


async def test_feedback_after_the_reward_is_late_and_stored(memory: Memory):
    decision = await memory.decide()
    await reward(memory, decision.id)

    reply = await memory.say(decision.id)

    (row,) = await rows(memory)
    assert (reply.json()["status"], row.late) == ("late", True)


async def test_a_correction_names_what_it_corrects(memory: Memory):
    decision, other = await memory.decide(), await memory.decide()
    wrong = (await memory.say(decision.id, value=True)).json()["feedback_id"]

    right = await memory.say(decision.id, value=False, supersedes=wrong)
    of_nothing = await memory.say(decision.id, supersedes=str(uuid4()))
    of_another_decision = await memory.say(other.id, supersedes=wrong)

    assert right.json()["status"] == "stored"
    assert (of_nothing.status_code, of_another_decision.status_code) == (422, 422)
    assert [row.supersedes for row in await rows(memory)] == [None, UUID(wrong)]


async def test_taking_back_leaves_a_tombstone_once(memory: Memory):
    decision = await memory.decide()
    own = (await memory.say(decision.id, document={"index": 1})).json()["feedback_id"]
    where = f"/v1/feedback/{own}?decision_id={decision.id}"

    first = await memory.client.delete(where)
    again = await memory.client.delete(where)
    nothing = await memory.client.delete(f"/v1/feedback/{uuid4()}?decision_id={decision.id}")
    nowhere = await memory.client.delete(f"/v1/feedback/{own}")

    original, tombstone = await rows(memory)
    assert (first.status_code, first.json()["status"]) == (200, "stored")
    assert again.json() == first.json() | {"status": "duplicate"}
    assert (nothing.status_code, nowhere.status_code) == (404, 422)
    assert (original.retracted, tombstone.retracted) == (False, True)
    assert tombstone.supersedes == UUID(own)
    assert (tombstone.document, tombstone.source_id) == (1, "widget")


REFUSED: list[dict[str, Any]] = [
    {"value": float("nan")},
    {"value": float("inf")},
    {"value": "nan"},
    {"value": "-Infinity"},
    {"value": "1e999"},
    {"value": 10**400},
    {"value": [1]},
    {"value": {}},
    {"value": None},
    {"value": 1, "error": "both"},
    {"value": "NUL \x00"},
    {"value": "half a pair \ud800"},
    {"value": "x" * 8001},
    {"name": ""},
    {"name": 5},
    {"name": "x" * 201},
    {"source": {"type": "GOD", "id": "x"}},
    {"source": {"type": "HUMAN"}},
    {"source": "HUMAN"},
    {"document": {}},
    {"document": {"index": 0, "id": "old"}},
    {"document": {"index": 3}},
    {"document": {"index": -1}},
    {"document": {"index": "0"}},
    {"document": {"index": True}},
    {"document": {"id": "unheard of"}},
    {"decision_id": 5},
    {"decision_id": "x"},
    {"id": "not-a-uuid"},
    {"metadata": {"a": float("nan")}},
    {"metadata": {"a": "\x00"}},
    {"metadata": {"\x00": 1}},
    {"metadata": {"a": {"\ud800": 1}}},
    {"metadata": []},
    {"metadata": {str(number): 1 for number in range(65)}},
    {"metadata": {"a": json.loads("[" * 50 + "]" * 50)}},
    {"occurred_at": "yesterday"},
    {"occurred_at": 1.5e9},
    {"occurred_at": "0001-01-01T00:00:00+14:00"},
    {"occurred_at": "9999-12-31T23:59:59-14:00"},
    {"rationale": "\x00"},
    {"judge": {"rubric": {"id": "a"}}},
    {"judge": {"rubric": {"id": "a", "version": "1"}, "confidence": 2}},
    {"surprise": 1},
]


async def test_what_cannot_be_meant_is_refused_without_an_echo(memory: Memory):
    decision = await memory.decide()

    for change in REFUSED:
        reply = await memory.client.post(
            "/v1/feedback",
            content=json.dumps(a_statement(decision.id) | {"rationale": "marker"} | change),
            headers={"content-type": "application/json"},
        )

        assert reply.status_code == 422, change
        assert len(reply.content) <= 1024
        assert b"marker" not in reply.content

    assert await rows(memory) == []


async def test_what_is_no_json_is_refused(memory: Memory):
    deep = b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    for body in (b'{"value": 1e999}', b"{", b"\xff\xfe", b"", b"9" * 5000, deep):
        reply = await memory.client.post(
            "/v1/feedback", content=body, headers={"content-type": "application/json"}
        )

        assert reply.status_code in {400, 422}, body[:20]
        assert len(reply.content) <= 1024


async def test_each_item_of_a_batch_stands_for_itself(memory: Memory):
    decision = await memory.decide()
    own = str(uuid4())
    items = [
        a_statement(decision.id, id=own),
        a_statement(decision.id, id=own),
        a_statement(decision.id, id=own, value=False),
        a_statement(decision.id, value=float("nan")),
        a_statement(uuid4()),
        a_statement(memory.mint()),
        a_statement(decision.id, value=False, supersedes=own),
        "nonsense",
        a_statement(decision.id, document={"index": 9}),
    ]

    reply = await memory.client.post(
        "/v1/feedback/batch",
        content=json.dumps({"items": items}),
        headers={"content-type": "application/json"},
    )

    results = reply.json()["results"]
    assert reply.status_code == 207
    assert [result["status"] for result in results] == [
        *("stored", "duplicate", "refused", "refused", "refused"),
        *("pending", "stored", "refused", "refused"),
    ]
    assert [result.get("code") for result in results] == [
        *(None, None, 422, 422, 404, None, None, 422, 422),
    ]
    assert results[2]["type"] == "urn:rankloop:KeyReused"
    assert len(await rows(memory)) == 3


async def test_of_a_thousand_items_the_good_ones_are_stored(memory: Memory):
    decision = await memory.decide()
    bad = [a_statement(decision.id, value=None) for _ in range(5)]
    bad += [a_statement(decision.id, document={"index": 99}) for _ in range(5)]
    items = [a_statement(decision.id, id=str(uuid4())) for _ in range(990)]
    for place, item in enumerate(bad):
        items.insert(place * 100, item)

    reply = await memory.client.post("/v1/feedback/batch", json={"items": items})

    assert reply.status_code == 207
    refused = [place for place, each in enumerate(reply.json()["results"]) if "code" in each]
    assert refused == list(range(0, 1000, 100))
    assert len(await rows(memory)) == 990


async def test_a_batch_with_an_idempotency_key_replays_as_a_whole(memory: Memory):
    decision = await memory.decide()
    body = {"items": [a_statement(decision.id), a_statement(decision.id)]}

    first, again = [
        await memory.client.post("/v1/feedback/batch", json=body, headers={"Idempotency-Key": "b"})
        for _ in range(2)
    ]

    assert [result["status"] for result in first.json()["results"]] == ["stored", "stored"]
    assert [result["status"] for result in again.json()["results"]] == ["duplicate", "duplicate"]


async def test_a_batch_has_at_most_a_thousand_items_and_two_megabytes(memory: Memory):
    decision = await memory.decide()
    item = a_statement(decision.id)

    thousand = await memory.client.post("/v1/feedback/batch", json={"items": [item] * 1000})
    more = await memory.client.post("/v1/feedback/batch", json={"items": [item] * 1001})
    none = await memory.client.post("/v1/feedback/batch", json={"items": []})
    small = json.dumps({"items": [item]}).encode()
    large = await memory.client.post(
        "/v1/feedback/batch",
        content=small + b" " * (3 << 19),
        headers={"content-type": "application/json"},
    )
    larger = await memory.client.post("/v1/feedback/batch", content=small + b" " * (2 << 20))
    alone = await memory.client.post("/v1/feedback", content=small + b" " * (3 << 19))

    assert (thousand.status_code, large.status_code) == (207, 207)
    assert len(await rows(memory)) == 1001
    assert (more.status_code, none.status_code) == (422, 422)
    for refused in (larger, alone):
        assert refused.status_code == 413
        assert len(refused.content) <= 1024


async def test_nobody_is_told_before_the_commit(memory: Memory):
    async with memory.engine.connect() as connection:
        decision = await memory.decide()
        own = select(func.count()).where(feedback.c.decision_id == decision.id)
        before = await connection.scalar(own)
        await connection.rollback()

        await memory.say(decision.id)

        after = await connection.scalar(own)
    assert (before, after) == (0, 1)


async def test_while_the_database_is_away_nothing_is_acknowledged(memory: Memory):
    decision = await memory.decide()
    nowhere = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    memory.app.dependency_overrides[dependencies.the_engine] = lambda: nowhere

    reply = await memory.say(decision.id)

    assert (reply.status_code, reply.json()["type"]) == (503, "urn:rankloop:DatabaseAway")
    assert int(reply.headers["Retry-After"]) > 0
