import logging
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

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
