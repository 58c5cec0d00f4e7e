import asyncio
import threading
from collections.abc import Sequence
from contextvars import Context, copy_context

import pytest

from rankloop.integrations import runs as module
from rankloop.integrations.reading import Reading
from rankloop.integrations.runs import IDLE_S, RECENT_S, Runs


class Done:
    """What belonged together, and a clock that stands still unless told."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.seen: list[tuple[list[str], list[str]]] = []
        self.readings: list[Reading] = []
        self.runs: Runs[str] = Runs(self, clock=lambda: self.now_s)

    def __call__(self, shown: Sequence[str], readings: Sequence[Reading]) -> None:
        self.seen.append((list(shown), [reading.answer for reading in readings]))
        self.readings += readings

    def call(self, run: str, parent: str | None, answer: str) -> None:
        self.runs.started(run, parent)
        self.runs.asked(run, "prompt", model=None)
        self.runs.answered(run, answer)
        self.runs.ended(run)


def test_what_happens_under_one_root_belongs_together():
    done = Done()

    done.runs.started("chain", None)
    done.runs.started("retriever", "chain")
    done.runs.shown("retriever", "ranking")
    done.runs.ended("retriever")
    done.call("llm", "chain", "answer")
    before = list(done.seen)
    done.runs.ended("chain")

    assert before == []
    assert done.seen == [(["ranking"], ["answer"])]


def test_two_roots_at_once_do_not_mix():
    done = Done()
    for name in ("a", "b"):
        done.runs.started(name, None)
        done.runs.shown(name, f"ranking {name}")
    for name in ("b", "a"):
        done.call(f"llm {name}", name, f"answer {name}")
    for name in ("a", "b"):
        done.runs.ended(name)

    assert done.seen == [(["ranking a"], ["answer a"]), (["ranking b"], ["answer b"])]


def test_a_call_knows_how_long_it_took_and_who_answered():
    done = Done()
    done.runs.started("chain", None)
    done.runs.shown("chain", "ranking")
    done.runs.started("llm", "chain")
    done.runs.asked("llm", "prompt", model="asked for")
    done.now_s = 0.25
    done.runs.answered("llm", "answer", model="answered")
    done.runs.ended("chain")

    (reading,) = done.readings
    assert (reading.prompt, reading.answer, reading.model) == ("prompt", "answer", "answered")
    assert reading.latency_ms == 250


def test_a_stream_may_end_after_the_run_that_opened_it():
    done = Done()
    done.runs.started("query", None)
    done.runs.shown("query", "ranking")
    done.runs.started("llm", "query")
    done.runs.asked("llm", "prompt", model=None)
    done.runs.ended("llm")
    done.runs.ended("query")
    before = list(done.seen)
    done.runs.answered("llm", "answer")

    assert before == []
    assert done.seen == [(["ranking"], ["answer"])]


def test_a_call_that_failed_is_not_waited_for():
    done = Done()
    done.runs.started("chain", None)
    done.runs.shown("chain", "ranking")
    done.runs.started("first", "chain")
    done.runs.asked("first", "prompt", model=None)
    done.runs.failed("first")
    done.call("second", "chain", "answer")
    done.runs.ended("chain")

    assert done.seen == [(["ranking"], ["answer"])]


def test_nothing_is_done_about_a_run_without_ranking_or_without_answer():
    done = Done()
    done.runs.started("chain", None)
    done.runs.shown("chain", "ranking")
    done.runs.ended("chain")
    Context().run(done.call, "llm", None, "answer")

    assert done.seen == []


def test_without_a_root_the_thread_says_what_was_shown_last():
    done = Done()

    done.runs.started("retriever", None)
    done.runs.shown("retriever", "ranking")
    done.runs.ended("retriever")
    done.call("llm", None, "answer")

    assert done.seen == [(["ranking"], ["answer"])]


def test_the_newest_ranking_comes_first():
    done = Done()
    for ranking in ("older", "newer"):
        done.runs.shown(None, ranking)

    done.call("llm", None, "answer")

    assert done.seen == [(["newer", "older"], ["answer"])]


def test_what_was_shown_under_the_root_is_all_that_counts():
    done = Done()
    done.runs.shown(None, "of an earlier request")
    done.runs.started("chain", None)
    done.call("rephrase", "chain", "question")
    done.runs.shown("chain", "ranking")
    done.call("llm", "chain", "answer")
    done.runs.ended("chain")

    assert done.seen == [(["ranking"], ["question", "answer"])]


def test_what_was_shown_long_ago_is_forgotten():
    done = Done()
    done.runs.shown(None, "ranking")
    done.now_s = RECENT_S + 1

    done.call("llm", None, "answer")

    assert done.seen == []


def test_another_thread_has_seen_nothing():
    done = Done()
    done.runs.shown(None, "ranking")

    thread = threading.Thread(target=done.call, args=("llm", None, "answer"))
    thread.start()
    thread.join()

    assert done.seen == []


async def test_another_task_has_seen_nothing():
    done = Done()

    async def rank() -> None:
        done.runs.shown(None, "ranking")

    await asyncio.create_task(rank())
    done.call("llm", None, "answer")

    assert done.seen == []


def test_what_nobody_announced_is_ignored():
    done = Done()

    for tell in (done.runs.ended, done.runs.failed):
        tell("unknown")
    done.runs.asked("unknown", "prompt", model=None)
    done.runs.answered("unknown", "answer")
    done.runs.started("late", "unknown")
    done.runs.ended("late")

    assert done.seen == []
    assert done.runs._by_run == {}


def test_runs_that_never_end_are_forgotten_the_oldest_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_ROOTS", 2)
    done = Done()

    for number in range(5):
        done.runs.started(number, None)
        done.runs.started(f"child of {number}", number)

    assert list(done.runs._roots) == [3, 4]
    assert set(done.runs._by_run) == {3, 4, "child of 3", "child of 4"}


def test_a_run_that_never_ends_keeps_the_newest_of_everything(monkeypatch: pytest.MonkeyPatch):
    for name, most in {"MAX_RUNS": 5, "MAX_SHOWN": 2, "MAX_CALLS": 2}.items():
        monkeypatch.setattr(module, name, most)
    done = Done()

    done.runs.started("loop", None)
    for number in range(50):
        done.runs.started(f"step {number}", "loop")
        done.runs.shown(f"step {number}", f"ranking {number}")
        done.call(f"llm {number}", f"step {number}", f"answer {number}")
        done.runs.ended(f"step {number}")
    kept = len(done.runs._by_run)
    done.runs.ended("loop")

    assert kept == 5
    assert done.seen == [(["ranking 48", "ranking 49"], ["answer 48", "answer 49"])]


@pytest.mark.parametrize(
    ("most", "answers"), [(30, ["answer 1", "answer 2"]), (1, ["answer 2"]), (48, None)]
)
def test_long_prompts_leave_less_room_for_others(
    most: int, answers: list[str] | None, monkeypatch: pytest.MonkeyPatch
):
    # "prompt" and "answer 0" are 6 + 8 characters: two whole calls and the prompt of a third are 34, all three 42.
    monkeypatch.setattr(module, "MAX_CHARACTERS", most)
    done = Done()

    done.runs.started("chain", None)
    done.runs.shown("chain", "ranking")
    for number in range(3):
        done.call(f"llm {number}", "chain", f"answer {number}")
    done.runs.ended("chain")

    assert done.seen == [(["ranking"], answers or ["answer 0", "answer 1", "answer 2"])]


def test_a_call_that_had_to_make_room_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_CALLS", 1)
    done = Done()

    done.runs.started("chain", None)
    done.runs.shown("chain", "ranking")
    done.runs.started("hangs", "chain")
    done.runs.asked("hangs", "prompt", model=None)
    done.call("llm", "chain", "answer")
    done.runs.ended("chain")

    assert done.seen == [(["ranking"], ["answer"])]


def test_a_run_that_goes_on_is_kept_rather_than_those_that_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_RUNS", 4)
    done = Done()

    done.runs.started("chain", None)
    done.runs.started("agent", "chain")
    done.runs.shown("agent", "ranking")
    for number in range(10):
        done.runs.started(f"tool {number}", "agent")
        done.runs.ended(f"tool {number}")
    done.call("llm", "agent", "answer")
    done.runs.ended("agent")
    done.runs.ended("chain")

    assert done.seen == [(["ranking"], ["answer"])]


def test_a_run_of_which_nothing_is_heard_is_forgotten():
    done = Done()
    done.runs.started("stuck", None)
    done.runs.started("child", "stuck")

    done.now_s = IDLE_S + 1
    done.runs.started("next", None)

    assert set(done.runs._by_run) == {"next"}


def test_a_run_of_which_something_is_heard_may_be_old():
    done = Done()
    for run in ("long", "idle"):
        done.runs.started(run, None)

    done.now_s = IDLE_S
    done.runs.started("child", "long")
    done.now_s = 2 * IDLE_S
    done.runs.started("next", None)

    assert list(done.runs._roots) == ["long", "next"]


def test_a_root_that_ended_leaves_nothing_behind():
    done = Done()
    copy_context().run(done.runs.shown, None, "ranking")

    done.runs.started("chain", None)
    done.call("llm", "chain", "answer")
    done.runs.ended("chain")

    assert (done.runs._roots, done.runs._by_run) == ({}, {})
