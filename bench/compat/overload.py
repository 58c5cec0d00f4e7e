"""A service that is really busy: it works on one long request until it has refused another."""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final
from urllib.parse import urlsplit
from urllib.request import urlopen

DOCUMENTS: Final = 30
WINDOWS: Final = 1000
REPEATS: Final = 2500
"""Seconds of work, of which a fraction is done."""
WITHIN_S: Final = 30.0
LOOK_S: Final = 0.01


@contextmanager
def overloaded(url: str) -> Iterator[None]:
    """Inside, the next request is refused with 429; after that the service is idle again."""
    refused_before = _refused(url)
    over = threading.Event()
    with closing(_begun(url)) as work:
        _wait_until(lambda: _metric(url, "rankloop_queued_tokens") > 0)

        def leave_once_refused() -> None:
            _wait_until(lambda: over.is_set() or _refused(url) > refused_before)
            # A client that has gone takes its work with it.
            work.close()

        relief = threading.Thread(target=leave_once_refused)
        relief.start()
        try:
            yield
        finally:
            over.set()
            relief.join()
    if _refused(url) == refused_before:
        raise AssertionError("the service was not busy: nothing was refused")


def _begun(url: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=WITHIN_S)
    # Each its own: the same text is scored once.
    texts = [f"{number} is a long text " * REPEATS for number in range(DOCUMENTS)]
    body = {"query": "long", "documents": texts, "max_chunks_per_doc": WINDOWS}
    connection.request("POST", "/v1/rerank", json.dumps(body), {"content-type": "application/json"})
    return connection


def _refused(url: str) -> float:
    return _metric(url, "rankloop_overloaded_total")


def _metric(url: str, name: str) -> float:
    with urlopen(f"{url}/metrics", timeout=WITHIN_S) as reply:  # noqa: S310 -- an address of ours
        text = reply.read().decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(LOOK_S)
