"""The right to publish to a line, held by one trainer at a time and renewed in the background.

A trainer that was paused and wakes up may believe in a lease that somebody else took: the token it was given is then
stale, and Postgres refuses what it publishes.
"""

import logging
import secrets
import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from contract import publication

logger = logging.getLogger(__name__)


class Lease:
    """Held within a `with`, from the first `take` that succeeds."""

    def __init__(self, engine: Engine, line: str, *, ttl_s: float) -> None:
        self._engine = engine
        self._line = line
        self._ttl_s = ttl_s
        self._holder = secrets.token_hex(8)
        self._stop = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.token: int | None = None
        """The fencing token; None while somebody else holds the lease."""

    def take(self) -> int | None:
        """Takes or renews the lease.  Returns the token."""
        statement = publication.take_lease(
            self._line, holder=self._holder, ttl=timedelta(seconds=self._ttl_s)
        )
        with self._engine.begin() as connection:
            token = connection.execute(statement).scalar_one()
        if token != self.token:
            logger.info("lease.changed line=%s token=%s was=%s", self._line, token, self.token)
        self.token = token
        return token

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._renewing.join()
        try:
            with self._engine.begin() as connection:
                connection.execute(publication.release_lease(self._line, holder=self._holder))
        except DBAPIError as unreachable:
            logger.warning("lease.not_released line=%s reason=%s", self._line, unreachable)

    def _renew(self) -> None:
        while not self._stop.wait(self._ttl_s / 3):
            if self.token is None:
                continue
            try:
                self.take()
            except DBAPIError as unreachable:
                logger.warning("lease.not_renewed line=%s reason=%s", self._line, unreachable)
