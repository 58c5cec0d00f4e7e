import gc
import logging
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from weakref import ref

import pytest

from rankloop.integrations.outbox import Outbox

TREE = Path(__file__).parents[4]


def note(done: list[tuple[int, str]], number: int) -> None:
    done.append((number, threading.current_thread().name))


def hold(started: threading.Event, go_on: threading.Event) -> None:
    started.set()
    go_on.wait(10)


def fail() -> None:
    raise ValueError("no")


def refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_work_is_done_in_order_and_not_by_the_app():
    outbox = Outbox()
    done: list[tuple[int, str]] = []
    for number in range(5):
        outbox.put(partial(note, done, number))

    assert outbox.flush(5)
    assert done == [(number, "rankloop") for number in range(5)]


def test_nothing_to_do_is_done():
    assert Outbox().flush(0)


def test_a_flush_does_not_wait_for_ever():
    outbox, go_on = Outbox(), threading.Event()
    outbox.put(lambda: go_on.wait(10))

    assert not outbox.flush(0.01)
    go_on.set()
    assert outbox.flush(5)


def test_what_does_not_fit_is_dropped_and_the_app_goes_on(caplog: pytest.LogCaptureFixture):
    outbox, go_on, started = Outbox(max_waiting=1), threading.Event(), threading.Event()
    outbox.put(partial(hold, started, go_on))
    started.wait(10)

    for _ in range(3):
        outbox.put(lambda: None)

    assert outbox.dropped == 2
    assert [record.message for record in caplog.records] == [
        "report.failed reason=too much waits; further ones are not logged"
    ]
    go_on.set()
    assert outbox.flush(5)


def test_failures_are_logged_once_until_something_succeeds(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    outbox = Outbox()
    for work in (fail, fail, fail, lambda: None, fail, fail):
        outbox.put(work)

    assert outbox.flush(5)
    assert [record.message for record in caplog.records] == [
        "report.failed reason=ValueError: no; further ones are not logged"
    ] * 2


def test_a_thread_ends_when_nothing_waits_and_the_next_work_has_another():
    outbox = Outbox()
    threads: list[threading.Thread] = []
    for _ in range(2):
        outbox.put(lambda: threads.append(threading.current_thread()))
        assert outbox.flush(5)
        threads[-1].join(5)

    assert [thread.is_alive() for thread in threads] == [False, False]
    assert threads[0] is not threads[1]


def test_an_outbox_without_work_is_collected():
    outbox = Outbox()
    threads: list[threading.Thread] = []
    outbox.put(lambda: threads.append(threading.current_thread()))
    assert outbox.flush(5)
    threads[0].join(5)

    kept = ref(outbox)
    del outbox
    gc.collect()

    assert kept() is None


def test_where_no_thread_can_be_started_the_app_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    outbox = Outbox()
    done: list[tuple[int, str]] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outbox.put(partial(note, done, 1))

    assert not outbox.flush(0)
    assert "report.failed reason=can't start new thread" in caplog.text
    outbox.put(partial(note, done, 2))
    assert outbox.flush(5)
    assert [number for number, _ in done] == [1, 2]


def test_the_end_of_a_process_is_held_up_once_and_not_by_each_outbox():
    program = (
        "import time; from functools import partial; from rankloop.integrations import outbox;"
        "outbox.FLUSH_S = 0.5; stuck = [outbox.Outbox() for _ in range(40)];"
        "[each.put(partial(time.sleep, 60)) for each in stuck]; print(time.monotonic())"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=TREE, capture_output=True, text=True, check=True
    )

    # One after the other they would take 40 * 0.5 s = 20 s; the rest is room for a busy machine.
    assert time.monotonic() - float(ran.stdout) < 10


def test_the_end_of_a_process_waits_for_what_it_still_has_to_say():
    program = (
        "import time; from rankloop.integrations.outbox import Outbox; outbox = Outbox();"
        "outbox.put(lambda: (time.sleep(0.2), print('said', flush=True)))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=TREE, capture_output=True, text=True, check=True
    )

    assert (ran.stdout, ran.stderr) == ("said\n", "")


def test_a_forked_child_has_a_thread_of_its_own():
    program = (
        "import os; from rankloop.integrations.outbox import Outbox; outbox = Outbox();"
        "outbox.put(lambda: None); outbox.flush(5); child = os.fork();"
        "outbox.put(lambda: os.write(1, b'said\\n')); outbox.flush(5); child and os.waitpid(child, 0)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=TREE, capture_output=True, text=True, check=True
    )

    assert ran.stdout == "said\nsaid\n"
