import fcntl
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import NullPool, create_engine, text

from rankloop import embedded

PARENT = """
import sys
from pathlib import Path
from rankloop import embedded

home = Path(sys.argv[1])
with (
    embedded.postgres(home / "postgres", durable=False) as postgres,
    embedded.valkey(home / "valkey") as valkey,
):
    print(postgres.url, postgres.process.pid, valkey.process.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rl") as folder:
        yield Path(folder)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that got the number that a server of ours once had."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_second_start_finds_the_data_of_the_first(home: Path) -> None:
    with embedded.postgres(home) as first:
        _execute(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded.postgres(home) as second:
        kept = _execute(second.url, "SELECT answer FROM kept")

    assert kept == 42


def test_valkey_finds_its_data_again(home: Path) -> None:
    with embedded.valkey(home) as first, redis.Redis.from_url(first.url) as client:
        client.set("kept", "42")
    with embedded.valkey(home) as second, redis.Redis.from_url(second.url) as client:
        kept = client.get("kept")

    assert kept == b"42"


def test_two_on_one_folder_are_refused_at_once(home: Path) -> None:
    with (
        embedded.valkey(home),
        pytest.raises(embedded.HomeInUse, match="another process"),
        embedded.valkey(home),
    ):
        pass


def test_nothing_outlives_a_killed_parent_and_the_next_start_has_its_data(home: Path) -> None:
    with _parent(home) as parent:
        url, *servers = _started_by(parent)
        _execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")

        parent.kill()
        parent.wait()

        # Starting anew does not wait for us to look: the old server may still be on its way out.
        with embedded.postgres(home / "postgres", durable=False) as server:
            assert _execute(server.url, "SELECT answer FROM kept") == 42
    assert _eventually(lambda: not any(map(_runs, servers)))
    assert all(_free(home / name / "server.lock") for name in ("postgres", "valkey"))


def test_a_killed_server_is_noticed_and_its_traces_do_not_stop_the_next(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    with embedded.postgres(home, durable=False) as server:
        server.process.kill()
        assert server.process.wait() == -signal.SIGKILL
    _say_it_runs_as(home / "data" / "postmaster.pid", pid=bystander.pid)

    with embedded.postgres(home, durable=False) as server:
        assert _execute(server.url, "SELECT 1") == 1


def test_a_half_made_data_folder_is_made_again(home: Path) -> None:
    (home / "data.draft").mkdir(parents=True)
    (home / "data.draft" / "PG_VERSION").write_text("18\n")

    with embedded.postgres(home, durable=False) as server:
        assert _execute(server.url, "SELECT 1") == 1


def test_a_folder_with_a_path_too_long_for_a_socket_works(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    deep = home / ("x" * 60) / ("y" * 60)

    with (
        embedded.valkey(deep, durable=False) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        assert client.ping()


def test_a_server_that_cannot_start_says_where_its_log_is(home: Path) -> None:
    with embedded.postgres(home, durable=False):
        pass
    (home / "data" / "postgresql.auto.conf").write_text("no_such_setting = on\n")

    with (
        pytest.raises(embedded.ServerFailed, match=str(home / "log")),
        embedded.postgres(home, durable=False),
    ):
        pass


def test_missing_wheels_are_named_with_the_extra_that_brings_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)

    with (
        pytest.raises(embedded.EmbeddedMissing, match=r"\.\[embedded\]"),
        embedded.postgres(home),
    ):
        pass


def _say_it_runs_as(file: Path, *, pid: int) -> None:
    _, *rest = file.read_text().splitlines()
    file.write_text("\n".join([str(pid), *rest, ""]))


def _parent(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _started_by(parent: subprocess.Popen[str]) -> tuple[str, int, int]:
    assert parent.stdout is not None
    url, *pids = parent.stdout.readline().split()
    postgres, valkey = map(int, pids)
    assert [psutil.Process(pid).ppid() for pid in (postgres, valkey)] == [parent.pid, parent.pid]
    return url, postgres, valkey


def _execute(url: str, statement: str) -> object:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        return result.scalar_one() if result.returns_rows else None


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free(lock: Path) -> bool:
    """Whether neither the server nor any of its children has the lock open."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _eventually(condition: Callable[[], bool], limit_s: float = 20.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
