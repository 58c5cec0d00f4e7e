import os
import subprocess
import sys
from pathlib import Path

from rankloop import leash

WATCH = """
import signal, sys
from rankloop import leash
sys.exit(leash._watch(["sleep", "60"], signal.SIGTERM))
"""


def test_the_command_is_a_direct_child_in_a_session_of_its_own(tmp_path: Path) -> None:
    script = "import os; print(os.getppid(), os.getsid(0) == os.getpid())"

    with (tmp_path / "log").open("wb") as output:
        child = leash.start([sys.executable, "-c", script], output=output)

    assert child.wait() == 0
    assert (tmp_path / "log").read_text().split() == [str(os.getpid()), "True"]


def test_the_environment_and_the_exit_code_are_those_of_the_command(tmp_path: Path) -> None:
    script = "import os, sys; sys.exit(int(os.environ['CODE']))"

    with (tmp_path / "log").open("wb") as output:
        child = leash.start([sys.executable, "-c", script], output=output, env={"CODE": "7"})

    assert child.wait() == 7


def test_a_parent_that_was_gone_before_the_leash_was_tied_has_no_child() -> None:
    nobody = str(2**22 + 1)  # above any process id

    code = subprocess.run(
        [sys.executable, leash.__file__, nobody, "15", "", "/bin/true"], check=False
    ).returncode

    assert code == 1


def test_whom_root_becomes_may_run_programs_from_roots_own_folders(tmp_path: Path) -> None:
    # As PostgreSQL asks, which looks for its other programs beside itself.
    program = tmp_path / "program"
    program.touch(0o700)
    tmp_path.chmod(0o700)
    script = "import os, sys; sys.exit(not os.access(sys.argv[1], os.X_OK))"

    with (tmp_path / "log").open("wb") as output:
        child = leash.start(
            [sys.executable, "-c", script, program],
            output=output,
            user="nobody" if os.geteuid() == 0 else None,
        )

    assert child.wait() == 0


def test_the_watcher_ends_the_command_when_the_pipe_closes() -> None:
    with subprocess.Popen([sys.executable, "-c", WATCH], stdin=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        watcher.stdin.close()

        # A child ended by signal 15 has exit code -15, which a process reports as 256 - 15.
        assert watcher.wait(20) == 241
