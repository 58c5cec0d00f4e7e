"""Answers that are made again: what a round asks for, waits for and goes by."""

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import func, select, update

from contract import quarantine
from contract.records import Source
from contract.replays import Purpose
from contract.rewards import RewardSpec
from contract.store import Store
from contract.tables import answers, decisions, evaluations, replays, texts, training_runs
from judge.__main__ import crew
from judge.brief import Brief
from judge.settings import JudgeSettings
from tests import logbook, serving, workbench
from tests.scripted_llm import scripted_llm
from tests.sockets import on_a_socket
from trainer import join, rounds, runs
from trainer import replays as replaying
from trainer.candidates import Workshop
from trainer.join import Window
from trainer.replays import Ask
from trainer.runs import Status

DECISIONS = 500
RUBRIC = {"rubric": {"id": "pairwise", "version": "1"}}


@pytest.fixture
def settings(database_url, redis_url, tmp_path):
    return workbench.settings(database_url, redis_url, tmp_path, trainer_pairs=1_000)


@pytest.fixture
def served(settings, tmp_path):
    base = workbench.start(settings, tmp_path / "base")
    return Workshop(settings, Store(settings.artifacts_url), threads=1).served(base, "float32")


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def asked(engine):
    with engine.connect() as connection:
        return connection.execute(select(replays).order_by(replays.c.replay_id)).all()


def end(connection, replay_id, **values):
    connection.execute(
        update(replays)
        .where(replays.c.replay_id == replay_id)
        .values(
            **{"judge": RUBRIC} | values,
            done_at=func.now(),
            done_xid=func.pg_current_xact_id(),
        )
    )


def first_text(connection, decision_id, order):
    offered = connection.execute(
        select(decisions.c.candidate_texts).where(decisions.c.decision_id == decision_id)
    ).scalar_one()
    body = select(texts.c.body).where(texts.c.text_id == offered[order[0]])
    return str(connection.execute(body).scalar_one())


def says_what_it_read(prompt: str) -> str:
    """An LLM for both jobs: it answers with its first document, and prefers an answer with "new" in it."""
    answers = re.findall(r"begin answer ([AB]) \w+ ===\n(.*)\n", prompt)
    if not answers:
        return str(re.findall(r"^\[1\] (.*)$", prompt, flags=re.MULTILINE)[0])
    new = [place for place, text in answers if "new" in text]
    winner = new[0] if len(new) == 1 else "tie"
    return json.dumps({"rationale": "It is new.", "injection": False, "winner": winner})


async def play_all(service_url: str, llm_url: str) -> None:
    """What a judge with a reader does until nothing waits."""
    judge = JudgeSettings.model_validate(
        {
            "service_url": service_url,
            "llm_url": llm_url,
            "reader_url": llm_url,
            "llm_calls_per_minute": 60_000,
        }
    )
    async with crew(Brief.of(judge)) as worker:
        assert worker.replays is not None
        while (job := await worker.replays.lease()) is not None:
            await worker.take(job)


def judge_pairs(engine, *, only=None):
    """The answer from a document with "new" in it is the better one."""
    with engine.begin() as connection:
        for row in asked(engine)[:only]:
            ours, theirs = (
                "new" in first_text(connection, row.decision_id, order)
                for order in (row.used, row.against)
            )
            end(connection, row.replay_id, value=(1 + ours - theirs) / 2)


def verdicts(engine):
    with engine.connect() as connection:
        found = connection.execute(select(evaluations).order_by(evaluations.c.created_at)).all()
    return {row.kind: row for row in found}


def run_row(engine):
    with engine.connect() as connection:
        return connection.execute(select(training_runs)).one()


async def test_a_round_asks_a_judge_with_a_reader_whose_answers_are_better_and_goes_by_that(
    settings, served, engine, tmp_path, database_url, redis_url
):
    workbench.traffic(engine, served, decisions=DECISIONS)
    service = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url)

    with workbench.worker(settings) as worker, scripted_llm(think=says_what_it_read) as llm:
        assert worker.step() is Status.RUNNING
        pairs = asked(engine)
        assert worker.step() is None  # it waits, and goes on with the rest of its work
        async with serving.running(service) as running, on_a_socket(running.app) as url:
            await play_all(url, llm.url)
        assert worker.step() is Status.PROMOTED

    run = run_row(engine)
    assert {(row.purpose, row.run_id, len(row.used), row.used == row.against) for row in pairs} == {
        ("pair", run.run_id, 1, False)
    }
    assert run.metrics["attempts"] == 1  # it was taken up again once, however often it waited
    assert set(verdicts(engine)) == {"parity", "golden", "replay"}
    told = verdicts(engine)["replay"]
    assert (told.verdict, told.detail["changed"], told.detail["unasked"]) == ("pass", len(pairs), 0)
    won = [2 * row.value - 1 for row in asked(engine)]
    assert {*won} == {-1.0, 0.0, 1.0}
    assert told.estimate == pytest.approx(sum(won) / told.n)


def test_a_candidate_whose_answers_are_worse_is_refused_whatever_the_log_says(
    settings, served, engine
):
    workbench.traffic(engine, served, decisions=DECISIONS)

    with workbench.worker(settings) as worker:
        worker.step()
        with engine.begin() as connection:
            for row in asked(engine):
                end(connection, row.replay_id, value=0.0)
        assert worker.step() is Status.REJECTED

    assert verdicts(engine)["replay"].verdict == "refuse"


def test_where_more_than_a_tenth_of_the_pairs_has_no_verdict_in_time_the_log_decides(
    settings, served, engine
):
    workbench.traffic(engine, served, decisions=DECISIONS)

    with workbench.worker(settings) as worker:
        worker.step()
        pairs = asked(engine)
        judge_pairs(engine, only=len(pairs) * 8 // 9)
        _is_over(engine)
        assert worker.step() is Status.PROMOTED

    assert set(verdicts(engine)) == {"parity", "golden", "offline"}
    late = [row for row in asked(engine) if row.value is None]
    assert len(late) == len(pairs) - len(pairs) * 8 // 9
    assert {row.error for row in late} == {"the round that asked waits no longer"}
    assert None not in {row.done_at for row in late}


def test_a_round_that_another_epoch_overtakes_ends_at_once_and_takes_back_what_it_asked(
    settings, served, engine, rng
):
    with engine.begin() as connection:
        _decided(connection, rng)
    (example,) = _read(engine)
    with engine.begin() as connection:
        window = join.closed(connection, "default", RewardSpec())
        run = runs.start(connection, window, champion="before", token=1, seed=0, config={})
        runs.note(connection, run, {rounds.UNTIL: "9999-01-01T00:00:00+00:00"})
        replaying.ask(connection, [_pair(example)], run_id=run.id)

    with workbench.worker(settings) as worker:
        assert worker.step() is Status.FAILED

    assert {row.error for row in asked(engine)} == {"the round that asked waits no longer"}


def test_a_pair_is_won_lost_or_neither_and_one_that_ended_with_an_error_is_lost(engine, rng):
    with engine.begin() as connection:
        for _ in range(4):
            _decided(connection, rng)
    examples = _read(engine)
    with engine.begin() as connection:
        replaying.ask(connection, map(_pair, examples))
        rows = {row.decision_id: row.replay_id for row in connection.execute(select(replays))}
        ids = [example.decision.id for example in examples]
        for decision_id, value in zip(ids, (1.0, 0.0, 0.5, None), strict=True):
            error = "suspected injection" if value is None else None
            end(connection, rows[decision_id], value=value, error=error)

        came = replaying.compared(connection, ids)

    assert [came[decision_id, (0,), (1,)] for decision_id in ids] == [1.0, -1.0, 0.0, -1.0]


def test_what_came_too_late_for_one_round_is_asked_again_by_the_next(engine, rng):
    with engine.begin() as connection:
        decision_id = _decided(connection, rng)
    (example,) = _read(engine)
    pair = _pair(example)
    first, second, third = uuid4(), uuid4(), uuid4()

    with engine.begin() as connection:
        assert replaying.ask(connection, [pair, pair], run_id=first) == 1
        assert replaying.close(connection, first) == 1
        assert replaying.compared(connection, [decision_id]) == {}
        assert replaying.ask(connection, [pair], run_id=second) == 1
        assert replaying.is_awaited(connection, second)
    with engine.begin() as connection:
        end(connection, asked(engine)[0].replay_id, value=0.5)
        assert replaying.ask(connection, [pair], run_id=third) == 0  # its value is known
        assert replaying.compared(connection, [decision_id]) == {(decision_id, (0,), (1,)): 0.0}


def test_answers_that_teach_are_made_again_without_each_document_and_from_the_bases_order(
    settings, served, engine
):
    workbench.traffic(engine, served, decisions=60)
    with engine.begin() as connection:
        connection.execute(update(answers).values(used_k=2))
    wanted = settings.model_copy(update={"trainer_leave_one_out": 1.0, "trainer_reference": 1.0})

    with workbench.worker(wanted) as worker:
        worker.step()
        worker.step()

    with engine.connect() as connection:
        shown = {row.decision_id: row for row in connection.execute(select(decisions))}
    rows = asked(engine)
    single = [row for row in rows if row.purpose == Purpose.LEAVE_ONE_OUT]
    taught = {row.decision_id for row in single}
    assert 0 < len(taught) < 60  # what tunes and judges needs no credit
    assert sorted((row.decision_id, *row.used) for row in single) == sorted(
        (decision_id, shown[decision_id].shown[place]) for decision_id in taught for place in (0, 1)
    )
    for row in rows:
        if row.purpose == Purpose.REFERENCE:
            logits = np.array(shown[row.decision_id].logits)
            assert row.used == np.argsort(-logits, kind="stable")[:2].tolist()
    again = {row.decision_id for row in rows if row.purpose == Purpose.REFERENCE}
    assert again == taught  # also where that is what was shown


def test_what_an_answer_loses_without_a_document_is_that_documents_credit(engine, rng):
    with engine.begin() as connection:
        decision_id = _decided(connection, rng)
        first, second, third = logbook.shown(connection, decision_id)
        for used, value in (
            ([second, third], 0.25),
            ([first, third], 1.0),
            ([first, second], 0.5),
        ):
            _played(connection, decision_id, "leave_one_out", used, value)
        _played(connection, decision_id, "reference", [2, 1, 0], 0.75)

    (example,) = _read(engine)

    assert example.credits == {first: 0.75, second: 0.0, third: 0.5}
    assert example.reference == 0.75


def test_what_somebody_said_of_the_documents_comes_before_what_was_played(engine, rng):
    with engine.begin() as connection:
        decision_id = _decided(connection, rng, credits=[1.0, None, 0.0])
        _first, second, third = logbook.shown(connection, decision_id)
        _played(connection, decision_id, "leave_one_out", [second, third], 0.25)

    (example,) = _read(engine)

    assert example.credits == {0: 1.0, 2: 0.0}


def test_what_comes_after_a_window_closed_is_not_in_it(engine, rng):
    with engine.begin() as connection:
        decision_id = _decided(connection, rng)
    with engine.connect() as connection:
        window = join.closed(connection, "default", RewardSpec())
    with engine.begin() as connection:
        _played(connection, decision_id, "reference", [2, 1, 0], 0.75)

    assert [example.reference for example in _read(engine, window)] == [None]
    assert [example.reference for example in _read(engine)] == [0.75]


def test_a_judge_in_quarantine_is_not_heard_about_replays_either(engine, rng):
    with engine.begin() as connection:
        decision_id = _decided(connection, rng)
        _played(connection, decision_id, "reference", [2, 1, 0], 0.75)
        connection.execute(
            quarantine.change(
                tenant="default",
                source_type=Source.LLM_JUDGE,
                source_id="pairwise@1",
                quarantined=True,
                actor="me",
                reason="it likes long answers",
            )
        )

    assert [example.reference for example in _read(engine)] == [None]


def _pair(example):
    return Ask(decision=example.decision, purpose=Purpose.PAIR, used=(0,), against=(1,))


def _is_over(engine):
    """The time for which the round waits."""
    run = run_row(engine)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    with engine.begin() as connection:
        connection.execute(
            update(training_runs)
            .where(training_runs.c.run_id == run.run_id)
            .values(metrics=run.metrics | {rounds.UNTIL: past})
        )


def _decided(connection, rng, **columns):
    decision_id = logbook.decision(
        connection, query="why", documents=["a", "b", "c"], logits=[0.5, 1.5, -1.0], rng=rng
    )
    logbook.rewarded(connection, decision_id, 1.0, **columns)
    return decision_id


def _played(connection, decision_id, purpose, used, value):
    replay_id = connection.execute(
        replays.insert()
        .values(
            replay_id=func.gen_random_uuid(), decision_id=decision_id, purpose=purpose, used=used
        )
        .returning(replays.c.replay_id)
    ).scalar_one()
    end(connection, replay_id, value=value)


def _read(engine, window: Window | None = None):
    with engine.connect() as connection:
        found = join.read(
            connection, window or join.closed(connection, "default", RewardSpec()), limit=10
        )
    return found.examples
