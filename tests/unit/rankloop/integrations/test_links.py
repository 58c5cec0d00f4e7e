import gc
import os
import threading
from functools import partial
from weakref import ref

import pytest

from rankloop.integrations.links import Link, link
from rankloop.integrations.reranker import Reranker


def linked(url: str = "http://s", api_key: str | None = None, timeout_s: float = 1) -> Link:
    return link(url, api_key=api_key, timeout_s=timeout_s)


def reranker() -> Reranker:
    return Reranker("http://s", api_key=None, line=None, timeout_s=1, cited=None)


def hold(started: threading.Event, go_on: threading.Event) -> None:
    started.set()
    go_on.wait(10)


def settle() -> None:
    """Threads that have nothing to do any more end, and what nobody holds is collected."""
    for thread in threading.enumerate():
        if thread.name == "rankloop":
            thread.join(10)
    gc.collect()


def test_rerankers_of_one_service_share_its_connections():
    first, second = reranker(), reranker()

    assert first._link is second._link


def test_another_service_key_or_timeout_has_its_own():
    links = [linked(), linked(url="http://t"), linked(api_key="rl_x"), linked(timeout_s=2)]

    assert len(set(links)) == 4


def test_a_forked_process_has_its_own(monkeypatch: pytest.MonkeyPatch):
    parents = linked()
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)

    assert linked() is not parents


def test_a_reranker_for_each_request_leaves_nothing_behind():
    clients = []
    for _ in range(3):
        asked = reranker()
        clients += [asked._link.ranking._http, asked._link.reporting._http]
        asked.report([], [])
        assert asked.flush(5)
        kept = ref(asked._link)
        del asked
        settle()

    assert kept() is None
    assert [each.is_closed for each in clients] == [True] * 6
    assert [each for each in threading.enumerate() if each.name == "rankloop"] == []


def test_what_is_yet_to_be_reported_keeps_its_connections():
    started, go_on = threading.Event(), threading.Event()
    asked = reranker()
    kept = ref(asked._link)
    asked._link.outbox.put(partial(hold, started, go_on))
    assert started.wait(10)
    asked.report([], [])

    del asked
    gc.collect()

    assert kept() is not None
    go_on.set()
    settle()
    assert kept() is None
