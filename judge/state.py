"""What a judge remembers for a month: one SQLite file, which all judges of a machine may share."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

PICOS: Final = 10**12
"""Of a unit of the currency: money is counted in whole ones, so that sums are exact."""
_BUSY_S: Final = 10.0
_OWNER_ALONE: Final = 0o600
"""Replies quote what users wrote."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS days (
    day TEXT PRIMARY KEY,
    cost INTEGER NOT NULL  -- spent and set aside, in picos
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replies (
    key BLOB PRIMARY KEY,
    day TEXT NOT NULL,
    reply TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replies_day ON replies (day);
"""
_ADD: Final = """
INSERT INTO days VALUES (:day, :cost) ON CONFLICT DO UPDATE SET cost = cost + excluded.cost
"""


class CapReached(Exception):
    """Today's money does not suffice for this call."""

    def __init__(self) -> None:
        super().__init__("today's money is spent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What is set aside for one call."""

    day: str
    cost: int
    """In picos."""


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
        self._pruned = ""

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path | None, *, cap: int | None = None, today: Callable[[], str] | None = None
    ) -> Iterator[Self]:
        """path: None forgets everything at the end. cap: of a UTC day, in picos (10^-12 of the currency).

        Raises `OSError` and `sqlite3.Error` where the file is none of ours.
        """
        if path is not None:
            path.touch(mode=_OWNER_ALONE)
        connection = sqlite3.connect(path or ":memory:", timeout=_BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
            yield cls(connection, cap=cap, today=today)
        finally:
            connection.close()

    def reserve(self, cost: int) -> Reservation:
        """Sets aside what a call may cost at most, before it is made.  Raises `CapReached`.

        A judge that dies leaves its reservations standing: for the rest of the day they count as spent.
        """
        wanted = Reservation(day=self._today(), cost=cost)
        with self._transaction():
            if self._cap is not None and self._spent(wanted.day) + cost > self._cap:
                raise CapReached
            self._add(wanted.day, cost)
        return wanted

    def settle(self, reservation: Reservation, cost: int) -> None:
        """What the call came to, instead of what was set aside."""
        self._add(reservation.day, cost - reservation.cost)

    def has_room(self, cost: int) -> bool:
        """Whether as much could be reserved now."""
        return self._cap is None or self.spent() + cost <= self._cap

    def spent(self) -> int:
        """Today, with what is set aside."""
        return self._spent(self._today())

    def reply(self, key: bytes) -> str | None:
        self._prune()
        found = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,))
        row = found.fetchone()
        return None if row is None else row[0]

    def keep(self, key: bytes, reply: str) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", (key, self._today(), reply)
        )

    def _prune(self) -> None:
        """Once a day: what is older than a month goes."""
        if self._pruned != (today := self._today()):
            for table in ("days", "replies"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE day < date(?, '-30 days')",  # noqa: S608 - ours
                    (today,),
                )
            self._pruned = today

    def _spent(self, day: str) -> int:
        row = self._connection.execute("SELECT cost FROM days WHERE day = ?", (day,)).fetchone()
        return 0 if row is None else row[0]

    def _add(self, day: str, cost: int) -> None:
        self._connection.execute(_ADD, {"day": day, "cost": cost})

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


def reply_key(*parts: Any) -> bytes:  # noqa: ANN401 - JSON
    """Of everything that a reply depends on, as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()


def _utc_day() -> str:
    return datetime.now(UTC).date().isoformat()
