import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select, update

from contract.model_tables import judge_leases
from contract.policy import Choice, Policy
from contract.records import Arm, Candidate, NotLearnable
from contract.tables import answers, feedback, texts
from service import leases
from tests.integration.conftest import Memory, a_decision
from tests.scripted_llm import Reply, scripted_llm
from tests.sockets import on_a_socket

RUBRIC = {"id": "answer_quality", "version": "1"}
BAD_SAMPLINGS: list[Any] = [
    {"floor": 0},
    {"floor": 1.01},
    {"explored": -0.01},
    {"canary": 2},
    {"low_margin": True},
    {"margin": -0.01},
    {"hold_back": 0.5},
    0.5,
    None,
]
ROOT = Path(__file__).parents[2]


async def answered(memory: Memory, text: str | None = "Two years.", **changes: Any) -> UUID:
    decision = await memory.decide()
    body = {"used_k": 2, "text": text} | changes
    await memory.client.post(f"/v1/decisions/{decision.id}/answer", json=body)
    return decision.id


async def lease(
    memory: Memory,
    n: int = 10,
    *,
    settle_s: float = 0,
    sampling: dict[str, float] | None = None,
    **rubric: str,
) -> list[dict[str, Any]]:
    wanted = {
        "n": n,
        "rubric": RUBRIC | rubric,
        "settle_s": settle_s,
        "sampling": sampling or {},
    }
    reply = await memory.client.post("/v1/judge/lease", json=wanted)
    assert reply.status_code == 200
    tasks: list[dict[str, Any]] = reply.json()["tasks"]
    return tasks


async def verdict(memory: Memory, decision_id: object, **rubric: str) -> httpx.Response:
    return await memory.client.post(
        "/v1/feedback",
        json={
            "decision_id": str(decision_id),
            "name": "quality",
            "value": 0.5,
            "source": {"type": "LLM_JUDGE", "id": "a-judge"},
            "judge": {"rubric": RUBRIC | rubric},
        },
    )


async def expire(memory: Memory, decision_id: object) -> None:
    statement = update(judge_leases).where(judge_leases.c.decision_id == decision_id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    async with memory.engine.begin() as connection:
        await connection.execute(statement.values(expires_at=past))


async def test_a_task_is_all_that_a_judge_has_to_read(memory: Memory):
    decision_id = await answered(memory)

    (task,) = await lease(memory)

    assert task | {"lease_id": None} == {
        "lease_id": None,
        "decision_id": str(decision_id),
        "query": "How long is the warranty?",
        "documents": [{"index": 2, "text": "Two years."}, {"index": 0, "text": "One year."}],
        "answer": "Two years.",
        "reference": None,
        "sampling_probability": 1.0,
        "expires_in_s": 300.0,
        "attempts_left": 4,
    }


async def test_the_right_answer_comes_with_the_task_where_it_is_known_and_kept(memory: Memory):
    known = await answered(memory, reference="24 months.")
    erased = await answered(memory, reference="Nobody may read this.")
    secret = texts.c.body == "Nobody may read this."
    async with memory.engine.begin() as connection:
        await connection.execute(update(texts).where(secret).values(body=None))

    tasks = await lease(memory)

    assert {task["decision_id"]: task["reference"] for task in tasks} == {
        str(known): "24 months.",
        str(erased): None,
    }


async def test_documents_that_are_no_prefix_come_in_the_order_of_the_prompt(memory: Memory):
    await answered(memory, used_k=None, used=[1, 2])

    (task,) = await lease(memory)

    assert [document["index"] for document in task["documents"]] == [1, 2]


async def test_oldest_first_and_not_more_than_asked(memory: Memory):
    first, second, third = [await answered(memory) for _ in range(3)]

    tasks = await lease(memory, n=2)
    rest = await lease(memory, n=2)

    assert [task["decision_id"] for task in tasks] == [str(first), str(second)]
    assert [task["decision_id"] for task in rest] == [str(third)]


async def test_what_has_no_text_no_decision_or_a_verdict_does_not_wait(memory: Memory):
    await answered(memory, text=None)
    await memory.client.post(
        f"/v1/decisions/{memory.mint()}/answer", json={"used_k": 1, "text": "early"}
    )
    await verdict(memory, await answered(memory))

    assert await lease(memory) == []


async def test_an_early_answer_that_names_documents_which_do_not_exist_blocks_nobody(
    memory: Memory,
):
    decision = a_decision(id=memory.mint(), tenant=memory.name)
    early = {"used": [99, 1], "text": "Two years."}
    await memory.client.post(f"/v1/decisions/{decision.id}/answer", json=early)
    await memory.land(decision)
    await answered(memory)

    first, second = await lease(memory)

    assert [document["index"] for document in first["documents"]] == [1]
    assert len(second["documents"]) == 2


async def test_a_verdict_by_another_rubric_or_source_is_none(memory: Memory):
    decision_id = await answered(memory)
    await verdict(memory, decision_id, version="2")
    await verdict(memory, decision_id, id="faithfulness")
    await memory.say(decision_id)

    assert len(await lease(memory)) == 1
    assert await lease(memory, version="2") == []


async def test_a_leased_task_is_nobody_elses_until_the_lease_expires(memory: Memory):
    decision_id = await answered(memory)

    (first,) = await lease(memory)
    meanwhile = await lease(memory)
    await expire(memory, decision_id)
    (second,) = await lease(memory)

    assert meanwhile == []
    assert first["decision_id"] == second["decision_id"]
    assert first["lease_id"] != second["lease_id"]


async def test_sixteen_racing_judges_share_the_tasks_without_a_double(memory: Memory):
    decisions = {str(await answered(memory)) for _ in range(12)}

    leased = await asyncio.gather(*(lease(memory, n=3) for _ in range(16)))

    # Who looks while another one locks gets fewer; nobody gets the same.
    taken = [task["decision_id"] for tasks in leased for task in tasks]
    taken += [task["decision_id"] for task in await lease(memory, n=64)]
    assert len(taken) == 12
    assert set(taken) == decisions


async def test_the_feedback_is_the_acknowledgement(memory: Memory):
    decision_id = await answered(memory)
    (task,) = await lease(memory)

    await verdict(memory, decision_id)

    nack = await memory.client.post(
        f"/v1/judge/lease/{task['lease_id']}/nack", json={"error": "too late"}
    )
    assert nack.status_code == 404
    assert await lease(memory) == []


async def test_a_task_that_was_given_back_is_tried_again_after_a_pause_and_a_few_times(
    memory: Memory,
):
    decision_id = await answered(memory)
    pauses, left = [], []
    for _ in range(5):
        (task,) = await lease(memory)
        left.append(task["attempts_left"])
        reply = await memory.client.post(
            f"/v1/judge/lease/{task['lease_id']}/nack", json={"error": "no verdict"}
        )
        assert reply.status_code == 204
        assert await lease(memory) == []
        async with memory.engine.connect() as connection:
            row = (
                await connection.execute(
                    select(judge_leases).where(judge_leases.c.decision_id == decision_id)
                )
            ).one()
        pauses.append((row.expires_at - datetime.now(UTC)).total_seconds())
        await expire(memory, decision_id)

    assert row.error == "no verdict"
    assert left == [4, 3, 2, 1, 0]
    # Doubled each time; taken a moment ago.
    assert pauses == pytest.approx([5, 10, 20, 40, 80], abs=3)
    assert await lease(memory) == []


async def place(memory: Memory, decision_id: object, version: str = "1") -> float:
    """Where the hash puts a decision: 64 bits with a sign, spread over [0, 1)."""
    name = f"{decision_id}answer_quality@{version}"
    async with memory.engine.connect() as connection:
        hashed = (await connection.execute(select(func.hashtextextended(name, 0)))).scalar_one()
    return float((hashed + 2**63) / 2**64)


async def drawn(memory: Memory, low: float, high: float, **changes: Any) -> str:
    """A decision with an answer, whose place is in [low, high)."""
    while not low <= await place(memory, decision_id := memory.mint()) < high:
        pass
    await memory.decide(id=decision_id, **changes)
    said = {"used_k": 1, "text": "Two years."}
    await memory.client.post(f"/v1/decisions/{decision_id}/answer", json=said)
    return str(decision_id)


def sampled(tasks: list[dict[str, Any]]) -> dict[str, float]:
    return {task["decision_id"]: task["sampling_probability"] for task in tasks}


def flat(share: float) -> dict[str, float]:
    """The same for all answers."""
    return dict.fromkeys(("floor", "explored", "canary", "low_margin"), share)


SHOWN = np.array([2, 0, 1])
EXPLORED = Choice(shown=SHOWN, cum_log_propensity=np.log([0.5, 0.5, 0.5]), explored=True)
CLOSE = np.array([1.75, -3.0, 2.0])
"""Its two best are .25 apart: less than .5."""


@pytest.mark.parametrize(
    ("decision", "probability"),
    [
        # The logits of a decision are 2, 1 and .5 here, unless it says otherwise: 1 apart, not less than .5.
        ({}, 0.2),
        ({"choice": EXPLORED}, 0.4),
        ({"arm": Arm.CANARY}, 0.6),
        ({"arm": Arm.HOLD_BACK}, 0.2),
        ({"logits": CLOSE}, 0.8),
        ({"logits": np.array([1.5, 0.0, 2.0])}, 0.2),
        ({"choice": EXPLORED, "arm": Arm.CANARY}, 0.6),
        ({"choice": EXPLORED, "arm": Arm.CANARY, "logits": CLOSE}, 0.8),
        ({"logits": np.array([]), "degraded": True, "not_learnable": NotLearnable.DEGRADED}, 0.2),
    ],
)
async def test_the_likeliest_of_its_strata_says_how_likely_an_answer_is_judged(
    memory: Memory, decision: dict[str, Any], probability: float
):
    below = await drawn(memory, probability - 0.1, probability, **decision)
    await drawn(memory, probability, probability + 0.1, **decision)
    strata = {"floor": 0.2, "explored": 0.4, "canary": 0.6, "low_margin": 0.8, "margin": 0.5}

    tasks = await lease(memory, sampling=strata)

    assert sampled(tasks) == {below: probability}


async def test_a_lonely_document_has_no_margin(memory: Memory):
    one = np.array([0])
    lonely: dict[str, Any] = {
        "candidates": (Candidate(text="Two years."),),
        "logits": np.array([2.0]),
        "choice": Choice(shown=one, cum_log_propensity=np.array([0.0]), explored=False),
        "policy": Policy(epsilon=0.5, temperature=1.0, sampled=1),
    }
    await drawn(memory, 0.2, 1.0, **lonely)

    assert await lease(memory, sampling={"floor": 0.2, "low_margin": 1.0, "margin": 9.0}) == []


async def test_without_a_word_on_sampling_the_last_of_all_draws_is_judged_too(memory: Memory):
    last = await drawn(memory, 0.99, 1.0)

    assert sampled(await lease(memory)) == {last: 1.0}


async def test_a_higher_probability_keeps_what_a_lower_one_had_drawn(memory: Memory):
    low, middle, high = [
        await drawn(memory, *between) for between in ((0, 0.25), (0.25, 0.5), (0.5, 1))
    ]

    found = []
    for share in (0.25, 0.25, 0.5, 1.0):
        found.append(sampled(await lease(memory, sampling=flat(share))))
        for decision_id in (low, middle, high):
            await expire(memory, decision_id)

    assert found == [
        {low: 0.25},
        {low: 0.25},
        {low: 0.5, middle: 0.5},
        {low: 1.0, middle: 1.0, high: 1.0},
    ]


async def test_each_rubric_draws_anew(memory: Memory):
    decisions = [str(await answered(memory)) for _ in range(8)]
    halves = [
        {each for each in decisions if await place(memory, each, version) < 0.5}
        for version in ("1", "2")
    ]

    leased = [
        sampled(await lease(memory, sampling=flat(0.5), version=version)) for version in ("1", "2")
    ]

    assert [tasks.keys() for tasks in leased] == halves


async def heard(memory: Memory, decision_id: UUID, ago_s: float) -> None:
    """As if the answer had come so long ago."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    statement = update(answers).where(answers.c.decision_id == decision_id)
    async with memory.engine.begin() as connection:
        await connection.execute(statement.values(received_at=at))


async def test_an_answer_settles_before_it_is_judged_whenever_the_app_says_that_it_came(
    memory: Memory,
):
    decision_id = await answered(memory, occurred_at="2026-01-31T12:00:00Z")

    young = await lease(memory, settle_s=60)
    await heard(memory, decision_id, ago_s=61)
    old = await lease(memory, settle_s=60)

    assert young == []
    assert [task["decision_id"] for task in old] == [str(decision_id)]


async def test_who_waits_for_an_answer_to_settle_does_not_miss_it(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leases, "HORIZON_S", 60.0)
    ago = timedelta(seconds=90)
    decision = await memory.decide(id=memory.mint(datetime.now(UTC) - ago))
    said = {"used_k": 1, "text": "Two years."}
    await memory.client.post(f"/v1/decisions/{decision.id}/answer", json=said)
    await heard(memory, decision.id, ago_s=61)

    assert await lease(memory) == []
    assert len(await lease(memory, settle_s=60)) == 1


async def test_a_task_that_the_judge_never_came_to_spends_no_attempt(memory: Memory):
    decision_id = await answered(memory)
    for _ in range(7):
        (task,) = await lease(memory)
        assert task["attempts_left"] >= 3
        body = {"error": "the judge was stopped", "tried": False}
        await memory.client.post(f"/v1/judge/lease/{task['lease_id']}/nack", json=body)
        await expire(memory, decision_id)

    assert len(await lease(memory)) == 1


async def test_a_text_that_is_empty_is_not_one_that_is_not_kept(memory: Memory):
    empty = await memory.decide(candidates=(Candidate(text=""),) * 3)
    unique = tuple(Candidate(text=f"{memory.name} {number}") for number in range(3))
    gone = await memory.decide(candidates=unique, query=memory.name, keep=False)
    for decision in (empty, gone):
        answer = {"used_k": 1, "text": "Two years."}
        await memory.client.post(f"/v1/decisions/{decision.id}/answer", json=answer)

    first, second = await lease(memory)

    assert [document["text"] for document in first["documents"]] == [""]
    assert [document["text"] for document in second["documents"]] == [None]
    assert second["query"] is None


async def test_an_unknown_lease_and_bad_requests_are_refused(memory: Memory):
    unknown = await memory.client.post(f"/v1/judge/lease/{uuid4()}/nack", json={"error": "x"})
    no_id = await memory.client.post("/v1/judge/lease/5/nack", json={"error": "x"})
    bad: list[dict[str, Any]] = [
        {},
        {"n": 0, "rubric": RUBRIC},
        {"n": 65, "rubric": RUBRIC},
        {"n": 1.5, "rubric": RUBRIC},
        {"rubric": "answer_quality"},
        {"rubric": RUBRIC | {"id": "\x00"}},
        *({"rubric": RUBRIC, "settle_s": each} for each in (-1, 86_401, "60", None)),
        *({"rubric": RUBRIC, "sampling": each} for each in BAD_SAMPLINGS),
    ]
    replies = [await memory.client.post("/v1/judge/lease", json=body) for body in bad]

    assert (unknown.status_code, no_id.status_code) == (404, 404)
    assert {reply.status_code for reply in replies} == {422}


@pytest.fixture
async def service_url(memory: Memory) -> AsyncIterator[str]:
    async with on_a_socket(memory.app) as url:
        yield url


async def verdicts(memory: Memory) -> list[Any]:
    own = select(feedback).where(feedback.c.tenant == memory.name)
    async with memory.engine.connect() as connection:
        return list((await connection.execute(own)).all())


@contextlib.contextmanager
def process(**environment: str) -> Iterator[subprocess.Popen[str]]:
    judge = subprocess.Popen(
        [sys.executable, "-m", "judge"],
        cwd=ROOT,
        env=os.environ | {"RANKLOOP_JUDGE_METRICS_PORT": "0"} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield judge
    finally:
        judge.kill()
        judge.communicate()


def first_line_with(word: str, process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return next(line for line in process.stderr if word in line)


def test_without_an_llm_the_process_idles_says_so_once_and_stops_on_sigterm():
    with process() as judge:
        port = first_line_with("metrics_port=", judge).rpartition("=")[2].strip()
        idle = first_line_with("judge.idle", judge)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        judge.send_signal(signal.SIGTERM)
        _, rest = judge.communicate(timeout=60)

    assert "RANKLOOP_JUDGE_LLM_URL" in idle
    assert "rankloop_judge_configured 0.0" in metrics
    assert "judge.stopped" in rest
    assert len(rest.splitlines()) == 1
    assert judge.returncode == 0


def test_a_misspelt_setting_ends_the_process_with_its_name():
    with process(RANKLOOP_JUDGE_LLM_MODLE="x") as judge:
        _, said = judge.communicate(timeout=60)

    assert judge.returncode == 2
    assert "RANKLOOP_JUDGE_LLM_MODLE" in said


async def test_the_process_judges_what_waits(memory: Memory, service_url: str):
    decisions = {await answered(memory) for _ in range(3)}

    with (
        scripted_llm(Reply()) as llm,
        process(
            RANKLOOP_JUDGE_SERVICE_URL=service_url,
            RANKLOOP_JUDGE_LLM_URL=llm.url,
            RANKLOOP_JUDGE_POLL_S="0.05",
        ) as judge,
    ):
        deadline = time.monotonic() + 30
        while len(await verdicts(memory)) < len(decisions):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        judge.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(judge.wait, 10)

    assert code == 0
    assert {row.decision_id for row in await verdicts(memory)} == decisions
