"""The keys as this replica last read them, so that no request waits for PostgreSQL to be let in.

All of them are read again every two seconds, which is how a revocation gets around. A key that nobody knows yet waits
for one more look, so that a new key works at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from service import key_table, keys
from service.errors import DatabaseAway, Unauthorized
from service.keys import ApiKey, KeyRecord

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
PAUSE_S: Final = 0.2
"""Between two looks, however many wrong keys ask for one."""
LOOK_S: Final = 2.0
"""How long an unknown key waits for a look; nobody knows when a frozen database answers."""


class Keyring:
    """Who holds a key."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        pepper: bytes,
        hold_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._pepper = pepper
        self._hold_s = hold_s
        self._clock = clock
        self._records: Mapping[str, KeyRecord] = {}
        self._read_at = -float("inf")
        self._wanted = asyncio.Event()
        self._next_look = _a_look()

    async def poll(self) -> None:
        """Reads the keys until cancelled."""
        while True:
            # Who comes from here on may know a key that this look does not find.
            look, self._next_look = self._next_look, _a_look()
            self._wanted.clear()
            look.set_result(await self._read())
            await asyncio.sleep(PAUSE_S)
            await _set_within(self._wanted, POLL_S - PAUSE_S)

    async def find(self, text: str) -> KeyRecord:
        """The record of a key that works.  Raises `Unauthorized`, `DatabaseAway`."""
        key = keys.parse(text)
        if key is None:
            raise Unauthorized("this is no key")
        found = self._found(key)
        if found is None and not await self._looked_again():
            raise DatabaseAway("nobody knows this key, and the database does not answer")
        found = found or self._found(key)
        if found is None:
            raise Unauthorized("the key is unknown, expired or revoked")
        if self._clock() - self._read_at > self._hold_s:
            raise DatabaseAway("the keys were last read too long ago")
        return found

    def _found(self, key: ApiKey) -> KeyRecord | None:
        record = self._records.get(key.key_id)
        if record is None or not record.admits(key, pepper=self._pepper, now=datetime.now(UTC)):
            return None
        return record

    async def _looked_again(self) -> bool:
        """Whether the keys were read since the call; all who wait share one look."""
        self._wanted.set()
        look = self._next_look
        await asyncio.wait([look], timeout=LOOK_S)
        return look.done() and look.result()

    async def _read(self) -> bool:
        started_at = self._clock()
        try:
            async with self._engine.connect() as connection:
                rows = await connection.execute(key_table.usable())
        except (SQLAlchemyError, OSError) as error:
            logger.warning("keys.not_read error=%s", type(error).__name__)
            return False
        self._records = {row.key_id: key_table.record(row) for row in rows}
        self._read_at = started_at
        return True


def _a_look() -> "asyncio.Future[bool]":
    return asyncio.get_running_loop().create_future()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, and no longer."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
