import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import ColumnElement, Row, func, insert, select, update

from contract.model_tables import replays
from contract.records import Candidate
from contract.tables import decisions, texts
from service.replays import NOT_KEPT, OTHERS, PAIRS, _oldest
from tests.integration.conftest import Memory

JUDGE = {"rubric": {"id": "pairwise", "version": "1"}, "mode": "pairwise", "model": "some-llm"}
PAIR: dict[str, Any] = {"purpose": "pair", "used": [2, 0], "against": [0, 2]}
LEFT_OUT: dict[str, Any] = {"purpose": "leave_one_out", "used": [2]}


async def asked(memory: Memory, decision_id: UUID | None = None, **changes: Any) -> str:
    """As the trainer asks: of a decision of its own, unless one is named."""
    row = {
        "replay_id": uuid4(),
        "tenant": memory.name,
        "line": memory.name,
        "decision_id": decision_id or (await memory.decide()).id,
        **LEFT_OUT,
    } | changes
    async with memory.engine.begin() as connection:
        await connection.execute(insert(replays).values(row))
    return str(row["replay_id"])


async def lease(memory: Memory, n: int = 10) -> list[dict[str, Any]]:
    reply = await memory.client.post("/v1/judge/replays/lease", json={"n": n})
    assert reply.status_code == 200
    tasks: list[dict[str, Any]] = reply.json()["tasks"]
    return tasks


async def tell(memory: Memory, lease_id: object, **body: Any) -> httpx.Response:
    return await memory.client.post(f"/v1/judge/replays/{lease_id}", json=body)


async def nack(memory: Memory, lease_id: object, **body: Any) -> httpx.Response:
    said = {"error": "no answer"} | body
    return await memory.client.post(f"/v1/judge/replays/{lease_id}/nack", json=said)


async def stored(memory: Memory, replay_id: object) -> Row[Any]:
    own = select(replays).where(replays.c.replay_id == replay_id)
    async with memory.engine.connect() as connection:
        return (await connection.execute(own)).one()


async def change(memory: Memory, replay_id: object, **values: Any) -> None:
    own = update(replays).where(replays.c.replay_id == replay_id)
    async with memory.engine.begin() as connection:
        await connection.execute(own.values(values))


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


async def expire(memory: Memory, replay_id: object) -> None:
    await change(memory, replay_id, expires_at=ago(seconds=1))


def ids(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["replay_id"] for task in tasks]


async def test_a_pair_is_all_that_two_answers_are_made_from(memory: Memory):
    decision = await memory.decide()
    replay_id = await asked(memory, decision.id, **PAIR)

    (task,) = await lease(memory)

    assert task | {"lease_id": None} == {
        "lease_id": None,
        "replay_id": replay_id,
        "decision_id": str(decision.id),
        "purpose": "pair",
        "query": "How long is the warranty?",
        "documents": [{"index": 0, "text": "One year."}, {"index": 2, "text": "Two years."}],
        "used": [2, 0],
        "against": [0, 2],
        "reference": None,
        "expires_in_s": 300.0,
        "attempts_left": 4,
    }


async def test_the_documents_are_those_that_either_side_names_each_once(memory: Memory):
    await asked(memory, **PAIR | {"used": [1, 0], "against": [2, 1]})

    (task,) = await lease(memory)

    assert [document["index"] for document in task["documents"]] == [0, 1, 2]


async def test_an_answer_from_no_document_at_all_is_one(memory: Memory):
    await asked(memory, used=[])

    (task,) = await lease(memory)

    assert (task["documents"], task["used"], task["against"]) == ([], [], None)


async def test_the_right_answer_comes_along_where_it_is_known_and_kept(memory: Memory):
    references = {"known": "24 months.", "erased": "Nobody may read this.", "none": None}
    found = {}
    for name, reference in references.items():
        decision = await memory.decide()
        said = {"used_k": 1, "text": "Two years.", "reference": reference}
        await memory.client.post(f"/v1/decisions/{decision.id}/answer", json=said)
        found[await asked(memory, decision.id)] = name
    async with memory.engine.begin() as connection:
        secret = texts.c.body == references["erased"]
        await connection.execute(update(texts).where(secret).values(body=None))

    tasks = await lease(memory)

    assert {found[task["replay_id"]]: task["reference"] for task in tasks} == {
        "known": "24 months.",
        "erased": None,
        "none": None,
    }


async def test_pairs_come_first_and_then_the_oldest(memory: Memory):
    old, older = [await asked(memory, asked_at=ago(hours=hours)) for hours in (2, 3)]
    base = await asked(memory, purpose="reference", asked_at=ago(hours=4))
    pair, first_pair = [await asked(memory, **PAIR, asked_at=ago(hours=hours)) for hours in (0, 1)]

    some = await lease(memory, n=3)
    rest = await lease(memory)

    assert ids(some) == [first_pair, pair, base]
    assert ids(rest) == [older, old]


@pytest.mark.parametrize(
    ("which", "index"), [(PAIRS, "replays_pairs_waiting"), (OTHERS, "replays_waiting")]
)
async def test_an_index_has_what_waits_in_the_order_in_which_it_is_taken(
    memory: Memory, which: ColumnElement[bool], index: str
):
    statement = _oldest(which, 1, tenant=memory.name)
    sent = statement.compile(memory.engine.sync_engine)
    compiled = statement.compile(memory.engine.sync_engine, compile_kwargs={"literal_binds": True})
    async with memory.engine.begin() as connection:
        # As for a table that is large.
        for way in ("seqscan", "bitmapscan", "sort"):
            await connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        rows = await connection.exec_driver_sql(f"EXPLAIN {compiled}")
        plan = "\n".join(row[0] for row in rows)

    assert f"Index Scan using {index} on replays" in plan
    assert "Sort" not in plan
    # A plan that serves any parameters knows it too.
    assert "'pair'" in str(sent)


async def test_what_was_asked_more_than_a_day_ago_is_not_made_any_more(memory: Memory):
    await asked(memory, asked_at=ago(hours=24, seconds=1))
    yesterday = await asked(memory, asked_at=ago(hours=23, minutes=59))

    assert ids(await lease(memory)) == [yesterday]


async def test_one_judge_at_a_time_has_a_replay_until_the_lease_expires(memory: Memory):
    replay_id = await asked(memory)

    (first,) = await lease(memory)
    meanwhile = await lease(memory)
    held_s = ((await stored(memory, replay_id)).expires_at - datetime.now(UTC)).total_seconds()
    await expire(memory, replay_id)
    (second,) = await lease(memory)

    assert meanwhile == []
    assert held_s == pytest.approx(300, abs=3)  # taken a moment ago
    assert first["replay_id"] == second["replay_id"]
    assert first["lease_id"] != second["lease_id"]
    assert (first["attempts_left"], second["attempts_left"]) == (4, 3)


async def test_sixteen_racing_judges_share_the_replays_without_a_double(memory: Memory):
    decision = await memory.decide()
    wanted = {
        await asked(memory, decision.id, used=[first, second])
        for first in range(3)
        for second in range(3)
    }

    leased = await asyncio.gather(*(lease(memory, n=2) for _ in range(16)))

    # Who looks while another one locks gets fewer; nobody gets the same.
    taken = [replay_id for tasks in leased for replay_id in ids(tasks)]
    taken += ids(await lease(memory, n=64))
    assert len(taken) == 9
    assert set(taken) == wanted


async def test_a_result_is_kept_with_how_it_came_about_and_the_transaction_that_wrote_it(
    memory: Memory,
):
    replay_id = await asked(memory, **PAIR)
    (task,) = await lease(memory)
    to_come = select(func.pg_snapshot_xmax(func.pg_current_snapshot()))
    async with memory.engine.connect() as connection:
        before = (await connection.execute(to_come)).scalar_one()

    reply = await tell(memory, task["lease_id"], value=1, rationale="It says when.", judge=JUDGE)

    row = await stored(memory, replay_id)
    assert (reply.status_code, reply.content) == (204, b"")
    assert (row.value, row.error) == (1.0, None)
    assert row.judge["rubric"] == {"id": "pairwise", "version": "1", "sha256": None}
    assert (row.judge["model"], row.judge["rationale"]) == ("some-llm", "It says when.")
    assert row.done_xid >= int(before)
    assert datetime.now(UTC) - row.done_at < timedelta(seconds=5)
    assert await lease(memory) == []


async def test_what_is_said_first_stands(memory: Memory):
    replay_id = await asked(memory)
    (task,) = await lease(memory)
    await tell(memory, task["lease_id"], value=0.25)
    first = await stored(memory, replay_id)

    again = [
        await tell(memory, task["lease_id"], value=1.0),
        await tell(memory, task["lease_id"], error="no"),
        await nack(memory, task["lease_id"]),
    ]

    assert [reply.status_code for reply in again] == [404, 404, 404]
    assert {reply.json()["type"] for reply in again} == {"urn:rankloop:UnknownLease"}
    assert await stored(memory, replay_id) == first
    assert (first.value, first.judge) == (0.25, None)


async def test_an_error_ends_it_and_there_is_no_value(memory: Memory):
    replay_id = await asked(memory)
    (task,) = await lease(memory)

    reply = await tell(memory, task["lease_id"], error="the prompt is too long", rationale="130 k")

    row = await stored(memory, replay_id)
    assert reply.status_code == 204
    assert (row.value, row.error, row.judge) == (
        None,
        "the prompt is too long",
        {"rationale": "130 k"},
    )
    assert row.done_at
    await expire(memory, replay_id)
    assert await lease(memory) == []


async def test_a_late_result_counts_until_somebody_else_has_the_replay(memory: Memory):
    late, too_late = await asked(memory), await asked(memory)
    leases = {task["replay_id"]: task["lease_id"] for task in await lease(memory)}
    await expire(memory, too_late)
    (anew,) = await lease(memory)
    await expire(memory, late)

    counts = await tell(memory, leases[late], value=0.5)
    refused = await tell(memory, leases[too_late], value=0.5)

    assert (counts.status_code, refused.status_code) == (204, 404)
    assert (await tell(memory, anew["lease_id"], value=1.0)).status_code == 204
    assert (await stored(memory, too_late)).value == 1.0


async def test_what_was_given_back_is_tried_again_after_a_pause_and_a_few_times(memory: Memory):
    replay_id = await asked(memory)
    pauses, left = [], []
    for _ in range(5):
        (task,) = await lease(memory)
        left.append(task["attempts_left"])
        assert (await nack(memory, task["lease_id"])).status_code == 204
        assert await lease(memory) == []
        row = await stored(memory, replay_id)
        pauses.append((row.expires_at - datetime.now(UTC)).total_seconds())
        await expire(memory, replay_id)

    assert (row.error, row.done_at) == ("no answer", None)
    assert left == [4, 3, 2, 1, 0]
    # Doubled each time; taken a moment ago.
    assert pauses == pytest.approx([5, 10, 20, 40, 80], abs=3)
    assert await lease(memory) == []


async def test_a_replay_that_nobody_came_to_spends_no_attempt_and_pauses_all_the_same(
    memory: Memory,
):
    replay_id = await asked(memory)
    for _ in range(7):
        (task,) = await lease(memory)
        assert task["attempts_left"] == 4
        assert (await nack(memory, task["lease_id"], tried=False)).status_code == 204
        assert await lease(memory) == []
        pause = (await stored(memory, replay_id)).expires_at - datetime.now(UTC)
        assert pause.total_seconds() == pytest.approx(5, abs=3)
        await expire(memory, replay_id)

    assert ids(await lease(memory)) == [replay_id]


async def test_who_gave_it_back_holds_it_no_more(memory: Memory):
    replay_id = await asked(memory)
    (task,) = await lease(memory)
    await nack(memory, task["lease_id"])

    again = [await nack(memory, task["lease_id"]), await tell(memory, task["lease_id"], value=1.0)]

    assert [reply.status_code for reply in again] == [404, 404]
    assert (await stored(memory, replay_id)).value is None


async def test_a_value_forgets_why_an_attempt_before_it_was_given_back(memory: Memory):
    replay_id = await asked(memory)
    (task,) = await lease(memory)
    await nack(memory, task["lease_id"])
    await expire(memory, replay_id)
    (task,) = await lease(memory)

    await tell(memory, task["lease_id"], value=0.0)

    row = await stored(memory, replay_id)
    assert (row.value, row.error) == (0.0, None)


async def test_what_cannot_be_made_ends_with_an_error_and_keeps_nobody_waiting(memory: Memory):
    unique = tuple(Candidate(text=f"{memory.name} {number}") for number in range(3))
    untold = await memory.decide(candidates=unique, keep=False)
    unasked = await memory.decide(query=memory.name, keep=False)
    impossible = [
        await asked(memory, untold.id, **PAIR),
        await asked(memory, unasked.id),
        await asked(memory, memory.mint()),  # of a decision that is not stored any more
        await asked(memory, used=[3]),  # of three documents
    ]
    possible = await asked(memory)

    tasks = await lease(memory, n=1)

    assert ids(tasks) == [possible]
    for replay_id in impossible:
        row = await stored(memory, replay_id)
        assert (row.error, row.lease_id, row.attempts, row.value) == (NOT_KEPT, None, 0, None)
        assert row.done_at
        assert row.done_xid
    assert await lease(memory) == []


async def test_texts_that_it_is_not_made_from_need_not_be_kept(memory: Memory):
    unique = tuple(Candidate(text=f"{memory.name} {number}") for number in range(3))
    decision = await memory.decide(candidates=unique)
    async with memory.engine.begin() as connection:
        erased = texts.c.body == unique[0].text
        await connection.execute(update(texts).where(erased).values(body=None))
    kept = await asked(memory, decision.id, used=[2, 1])
    await asked(memory, decision.id, used=[2, 0])

    assert ids(await lease(memory)) == [kept]


async def test_a_text_that_is_empty_is_not_one_that_is_not_kept(memory: Memory):
    decision = await memory.decide(query="", candidates=(Candidate(text=""),) * 3)
    await asked(memory, decision.id)

    (task,) = await lease(memory)

    assert (task["query"], task["documents"]) == ("", [{"index": 2, "text": ""}])


async def test_another_tenants_replay_is_as_none_at_all(memory: Memory):
    lease_id, theirs = uuid4(), f"not {memory.name}"
    held = await asked(memory, tenant=theirs, lease_id=lease_id, attempts=1)
    waiting = await asked(memory, tenant=theirs)

    replies = [
        await said(memory, each)
        for said in (partial(tell, value=0.5), nack)
        for each in (lease_id, uuid4())
    ]
    tasks = await lease(memory)

    assert {reply.status_code for reply in replies} == {404}
    assert len({reply.content for reply in replies}) == 1
    assert tasks == []
    for replay_id in (held, waiting):
        row = await stored(memory, replay_id)
        assert (row.error, row.done_at, row.expires_at) == (None, None, None)


async def test_a_replay_tells_nothing_of_another_tenants_decision(memory: Memory):
    decision = await memory.decide(tenant=f"not {memory.name}")
    replay_id = await asked(memory, decision.id)

    assert await lease(memory) == []
    assert (await stored(memory, replay_id)).error == NOT_KEPT
    async with memory.engine.connect() as connection:
        there = select(decisions).where(decisions.c.decision_id == decision.id)
        assert (await connection.execute(there)).one()


BAD_RESULTS: list[dict[str, Any]] = [
    {},
    {"value": None, "error": None},
    {"value": 0.5, "error": "no"},
    {"value": 1.5},
    {"value": -0.01},
    {"value": "1"},
    {"value": True},
    {"error": "\x00"},
    {"error": 8001 * "a"},
    {"value": 0.5, "winner": "used"},
    {"value": 0.5, "judge": {"model": "some-llm"}},
]


async def test_a_result_is_one_value_or_one_error_and_nothing_else(memory: Memory):
    replay_id = await asked(memory)
    (task,) = await lease(memory)
    address = f"/v1/judge/replays/{task['lease_id']}"

    replies = [await tell(memory, task["lease_id"], **body) for body in BAD_RESULTS]
    for number in (b"NaN", b"Infinity"):
        json = {"content-type": "application/json"}
        body = b'{"value": ' + number + b"}"
        replies.append(await memory.client.post(address, content=body, headers=json))

    assert [reply.status_code for reply in replies] == [422] * (len(BAD_RESULTS) + 2)
    assert {reply.headers["content-type"] for reply in replies} == {"application/problem+json"}
    assert "either a value or an error" in replies[0].json()["detail"]
    assert "less than or equal to 1" in replies[3].json()["detail"]
    assert (await stored(memory, replay_id)).done_at is None


async def test_bad_leases_are_refused(memory: Memory):
    bad: list[Any] = [{"n": 0}, {"n": 65}, {"n": 1.5}, {"n": "1"}, {"rubric": "pairwise"}, []]

    replies = [await memory.client.post("/v1/judge/replays/lease", json=body) for body in bad]
    no_id = await tell(memory, "5", value=0.5)

    assert {reply.status_code for reply in replies} == {422}
    assert no_id.status_code == 404


async def test_one_is_leased_unless_more_are_wanted(memory: Memory):
    for _ in range(2):
        await asked(memory)

    reply = await memory.client.post("/v1/judge/replays/lease", json={})

    assert len(reply.json()["tasks"]) == 1


async def test_the_decision_tells_of_its_replays(memory: Memory):
    decision = await memory.decide()
    await asked(memory, decision.id, **PAIR, asked_at=ago(minutes=2))
    await asked(memory, decision.id, asked_at=ago(minutes=1))
    (pair,) = await lease(memory, n=1)
    await tell(memory, pair["lease_id"], value=0.5, judge=JUDGE)

    told = (await memory.client.get(f"/v1/decisions/{decision.id}")).json()["replays"]

    done, waiting = told
    assert (done["purpose"], done["used"], done["against"]) == ("pair", [2, 0], [0, 2])
    assert (done["value"], done["judge"]["model"]) == (0.5, "some-llm")
    assert done["done_at"]
    assert waiting | {"asked_at": None} == {
        "purpose": "leave_one_out",
        "used": [2],
        "against": None,
        "value": None,
        "error": None,
        "judge": None,
        "asked_at": None,
        "done_at": None,
    }
