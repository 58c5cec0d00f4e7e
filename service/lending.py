"""How work is lent to judges: each piece to one at a time, for a while, a few times, after longer and longer pauses."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, DateTime, Double, Function, func
from sqlalchemy.dialects.postgresql import INTERVAL

from service.errors import HttpRefusal

TTL_S: Final = 300.0
MAX_ATTEMPTS: Final = 5
FIRST_PAUSE_S: Final = 5.0
"""Before a task that was given back is tried again; doubled each time."""


class UnknownLease(HttpRefusal):
    """Nobody holds this lease: it ran out, or its task is done."""

    status = 404


def pause_s(attempts: ColumnElement[int]) -> ColumnElement[float]:
    """Before the next one, after so many."""
    return func.power(2, func.greatest(attempts, 1) - 1, type_=Double()) * FIRST_PAUSE_S


def until(seconds: float | ColumnElement[float]) -> ColumnElement[datetime]:
    """So many seconds from this moment on, which may be long after the transaction began."""
    now = func.clock_timestamp(type_=DateTime(timezone=True))
    return now + interval(seconds)


def interval(seconds: float | ColumnElement[float]) -> Function[Any]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=INTERVAL())
