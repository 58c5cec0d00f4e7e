"""What rerankers of one service share: its connections, and the thread that reports. Closed with the last of them."""

import os
from dataclasses import dataclass
from typing import Final, TypeAlias
from weakref import WeakValueDictionary, finalize

from rankloop.client import Client, Retries
from rankloop.integrations.outbox import Outbox

PATIENT: Final = Retries(attempts=6, first_s=0.5, longest_s=30.0)
"""A report has time."""

_Key: TypeAlias = tuple[int, str, str | None, float]
"""Process, URL, API key and timeout: a forked process makes connections of its own."""


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class Link:
    """Of one configuration."""

    ranking: Client
    reporting: Client
    outbox: Outbox


_LINKS: Final[WeakValueDictionary[_Key, Link]] = WeakValueDictionary()


def link(url: str, *, api_key: str | None, timeout_s: float) -> Link:
    """The one that is there, or a new one; two threads at once may make two."""
    key = (os.getpid(), url, api_key, timeout_s)
    found = _LINKS.get(key)
    if found is None:
        found = _LINKS[key] = _new(url, api_key=api_key, timeout_s=timeout_s)
    return found


def _new(url: str, *, api_key: str | None, timeout_s: float) -> Link:
    made = Link(
        ranking=Client(url, api_key=api_key, timeout_s=timeout_s),
        reporting=Client(url, api_key=api_key, retries=PATIENT),
        outbox=Outbox(),
    )
    for client in (made.ranking, made.reporting):
        # Not at exit: what the outbox has yet to say needs them.
        finalize(made, client.close).atexit = False
    return made
