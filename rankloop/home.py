"""The folder that holds everything one loop knows: databases, artifacts, secret and logs."""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rankloop.embedded import HomeInUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where things are under one folder."""

    path: Path
    """Absolute."""

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def judge_state(self) -> Path:
        return self.path / "judge.sqlite"

    @property
    def secret_file(self) -> Path:
        return self.path / "secret"

    def secret(self) -> str:
        """Made once: what it signed must stay valid after the next start."""
        file = self.secret_file
        if not file.exists():
            draft = file.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32))
            draft.rename(file)
        return file.read_text()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder where it is missing. Raises `HomeInUse`."""
        self.log("any").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as taken:
                raise HomeInUse(
                    f"another loop runs on {self.path}: stop it, or choose another --home"
                ) from taken
            yield


def last_lines(log: Path, *, n: int = 12) -> str:
    """The end of a log, to show beside a failure."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-n:])
