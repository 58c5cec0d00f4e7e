"""What a judge remembers for a month: one SQLite file, which all judges of a machine may share."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

PICOS: Final = 10**12
"""Of a unit of the currency: money is counted in whole ones, so that sums are exact."""
_BUSY_S: Final = 10.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    day TEXT NOT NULL,
    cost INTEGER NOT NULL  -- reserved, or what it came to; in picos
) STRICT;
CREATE INDEX IF NOT EXISTS calls_day ON calls (day);
CREATE TABLE IF NOT EXISTS replies (
    key BLOB PRIMARY KEY,
    day TEXT NOT NULL,
    reply TEXT NOT NULL
) STRICT, WITHOUT ROWID;
DELETE FROM calls WHERE day < date('now', '-30 days');
DELETE FROM replies WHERE day < date('now', '-30 days');
"""


class CapReached(Exception):
    """Today's money does not suffice for this call."""


class State:
    """A budget and a cache of replies. Calls take well under a millisecond: nothing is gained by a thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        cap: int | None = None,
        today: Callable[[], str] | None = None,
    ) -> None:
        self._connection = connection
        self._cap = cap
        self._today = today or _utc_day

    @classmethod
    @contextmanager
    def opened(cls, path: Path | None, *, cap: int | None = None) -> Iterator[Self]:
        """path: None forgets everything at the end. cap: of a UTC day, in picos (10^-12 of the currency)."""
        connection = sqlite3.connect(path or ":memory:", timeout=_BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
            yield cls(connection, cap=cap)
        finally:
            connection.close()

    def reserve(self, cost: int) -> int:
        """Sets aside what a call may cost at most, before it is made.  Raises `CapReached`.

        A judge that dies leaves its reservations standing: for the rest of the day they count as spent.
        """
        day = self._today()
        with self._transaction():
            if self._cap is not None and self._spent(day) + cost > self._cap:
                raise CapReached
            rows = self._connection.execute(
                "INSERT INTO calls (day, cost) VALUES (?, ?) RETURNING id", (day, cost)
            )
            reservation: int = rows.fetchone()[0]
        return reservation

    def settle(self, reservation: int, cost: int) -> None:
        """What the call came to, instead of what was set aside."""
        self._connection.execute("UPDATE calls SET cost = ? WHERE id = ?", (cost, reservation))

    def has_room(self, cost: int) -> bool:
        """Whether as much could be reserved now."""
        return self._cap is None or self.spent() + cost <= self._cap

    def spent(self) -> int:
        """Today, with what is set aside."""
        return self._spent(self._today())

    def reply(self, key: bytes) -> str | None:
        found = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,))
        row = found.fetchone()
        return None if row is None else row[0]

    def keep(self, key: bytes, reply: str) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", (key, self._today(), reply)
        )

    def _spent(self, day: str) -> int:
        sums = self._connection.execute(
            "SELECT coalesce(sum(cost), 0) FROM calls WHERE day = ?", (day,)
        )
        total: int = sums.fetchone()[0]
        return total

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: of two judges one waits, before either has read what is spent.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def reply_key(*parts: str | Sequence[str]) -> bytes:
    """Of everything that a reply depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _utc_day() -> str:
    return datetime.now(UTC).date().isoformat()
