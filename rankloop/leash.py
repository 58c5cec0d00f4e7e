"""Starts child processes that do not outlive us, however we die.

This file is also what the child runs first, as a script: it ties the leash, then becomes the command.
On Linux the kernel holds the other end. Elsewhere the script stays between the two and watches a pipe that closes
with us.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECUREBITS: Final = 28
_SECBIT_NO_SETUID_FIXUP: Final = 1 << 2
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAP_DAC_OVERRIDE: Final = 1
_CAPABILITY_VERSION_3: Final = 0x20080522


def start(
    command: Sequence[str | Path],
    *,
    output: IO[bytes],
    farewell: signal.Signals = signal.SIGTERM,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Run the command as a direct child that gets `farewell` when we are gone.

    It has a session of its own: Ctrl-C in our terminal is ours to handle. Call this from a thread that lives as long
    as the child should: to the kernel the parent is a thread. `user`, for root only, is whom to become; the files of
    root stay open to it, as they may lie where that user cannot look.
    """
    leash = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(farewell)), user or ""]
    return subprocess.Popen(
        [*leash, *map(str, command)],
        stdin=subprocess.DEVNULL if sys.platform == "linux" else subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=env,
        pass_fds=keep_open,
        start_new_session=True,
    )


def _main(parent: str, farewell: str, user: str, *command: str) -> None:
    if user:
        _become(user)
    if sys.platform != "linux":
        sys.exit(_watch(list(command), signal.Signals(int(farewell))))
    # After the change of user, which would untie it.
    _libc().prctl(_PR_SET_PDEATHSIG, int(farewell), 0, 0, 0)
    if os.getppid() != int(parent):  # gone before the leash was tied
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - this is what we are here for


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    if sys.platform == "linux":
        # Capabilities outlive the change of user, and access(2) counts them: PostgreSQL looks for its programs by it.
        _libc().prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        _keep_reading_what_root_owns()


def _keep_reading_what_root_owns() -> None:
    """Keep one capability across exec; where the container took it away, plain permissions must do."""
    bits = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    if _libc().capset(header, effective_permitted_inheritable) != 0:
        _libc().capset(header, (ctypes.c_uint32 * 6)())
    _libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _watch(command: Sequence[str], farewell: signal.Signals) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda received, _: child.send_signal(received))
    threading.Thread(target=_until_closed, args=(child, farewell), daemon=True).start()
    return child.wait()


def _until_closed(child: subprocess.Popen[bytes], farewell: signal.Signals) -> None:
    sys.stdin.buffer.read()
    child.send_signal(farewell)


if __name__ == "__main__":
    _main(*sys.argv[1:])
