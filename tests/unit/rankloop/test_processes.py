import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rankloop.processes import LONGEST_PAUSE_S, STEADY_S, Kept, Program, RunningProgram


class Fake:
    """Something that runs until a test ends it."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.stopped = False

    def exit_code(self) -> int | None:
        return self.code

    def stop(self) -> None:
        self.stopped = True


class Stage:
    """One kept program under a clock of our own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.started: list[Fake] = []
        self.said: list[str] = []
        self.kept = Kept("the service", self._start, say=self.said.append, now=lambda: self.now)

    def _start(self) -> Fake:
        self.started.append(Fake())
        return self.started[-1]

    def end(self, code: int) -> None:
        self.started[-1].code = code
        self.kept.tend()

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.kept.tend()


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.kept.start()
    return stage


def test_what_runs_is_left_alone(stage: Stage) -> None:
    stage.after(1)

    assert (len(stage.started), stage.said) == (1, [])


def test_what_ended_is_cleared_away_and_started_again_after_a_pause(stage: Stage) -> None:
    stage.end(3)
    stage.after(0.4)
    assert len(stage.started) == 1

    stage.after(0.2)

    assert len(stage.started) == 2
    assert stage.started[0].stopped
    assert stage.said == ["the service ended with exit code 3; starting it again in 0.5 s"]


def test_a_signal_is_named(stage: Stage) -> None:
    stage.end(-9)

    assert stage.said[0].startswith("the service was ended by SIGKILL;")


def test_the_pause_doubles_with_each_failure_up_to_a_limit(stage: Stage) -> None:
    for pause_s in (0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        stage.end(1)
        assert stage.said[-1].endswith(f" in {pause_s:g} s")
        stage.after(pause_s)

    assert stage.kept.failures == 8


def test_after_a_steady_while_the_first_pause_is_short_again(stage: Stage) -> None:
    stage.end(1)
    stage.after(1)
    stage.after(STEADY_S)

    stage.end(1)

    assert stage.kept.failures == 1


def test_what_was_stopped_is_not_started_again_by_stopping_twice(stage: Stage) -> None:
    stage.kept.stop()
    stage.kept.stop()

    assert stage.started[0].stopped
    assert len(stage.started) == 1


@pytest.fixture
def started(tmp_path: Path) -> Callable[[str], tuple[RunningProgram, Path]]:
    def start(script: str, grace_s: float = 20) -> tuple[RunningProgram, Path]:
        log = tmp_path / "log"
        program = Program(
            arguments=(sys.executable, "-u", "-c", script),
            environ=os.environ,
            log=log,
            grace_s=grace_s,
        )
        return program.start(), log

    return start


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_writes_into_its_log(
    started: Callable[[str], tuple[RunningProgram, Path]],
) -> None:
    program, log = started("print('hello')")

    assert program.wait() == 0
    assert log.read_text() == "hello\n"


def test_a_program_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print('deaf'); time.sleep(60)"
    )
    log = tmp_path / "log"
    program = Program(
        arguments=(sys.executable, "-u", "-c", script), environ=os.environ, log=log, grace_s=0.1
    ).start()
    wait_for(lambda: log.read_text() == "deaf\n")

    program.stop()

    assert program.exit_code() == -signal.SIGKILL


def test_what_a_killed_program_had_started_ends_with_it(
    started: Callable[[str], tuple[RunningProgram, Path]],
) -> None:
    program, log = started(
        "import os, subprocess, time; child = subprocess.Popen(['sleep', '60']);"
        " print(os.getpid(), child.pid, flush=True); time.sleep(60)"
    )
    wait_for(lambda: log.read_text().endswith("\n"))
    leader, child = map(int, log.read_text().split())
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: program.exit_code() is not None)

    program.stop()

    wait_for(lambda: is_gone(child))


def is_gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
