"""The apps of `examples/apps` as a user runs them: a process that answers one question and ends."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.apps import coffee

TREE = Path(__file__).parents[2]


@contextmanager
def watched(url: str) -> Iterator[tuple[str, list[str]]]:
    """A service that notes the decisions which the one at this URL makes."""
    decisions: list[str] = []

    class Forward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {"content-type": "application/json"}
            reply = httpx.post(f"{url}{self.path}", content=body, headers=headers, trust_env=False)
            if "x-rankloop-decision" in reply.headers:
                decisions.append(reply.headers["x-rankloop-decision"])
            self.send_response(reply.status_code)
            self.send_header("content-length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", decisions
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("app", ["langchain_app", "llamaindex_app", "haystack_app"])
def test_an_app_that_ends_has_reported_what_its_llm_did(
    app: str, url: str, answer_of: Callable[[str], dict[str, Any]]
):
    with watched(url) as (service, decisions):
        ran = subprocess.run(
            [sys.executable, "-m", f"examples.apps.{app}", service],
            cwd=TREE,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )

    (decision_id,) = decisions
    said = ran.stdout.strip()
    answer = answer_of(decision_id)
    shown = answer["decision"]["shown"][:3]
    assert answer["text"] == said
    assert (answer["used"], answer["used_k"]) == (shown, 3)
    assert answer["citations"] == [shown[int(mark)] for mark in _marks(said)]
    assert answer["model"] == "stand-in"
    assert 0 <= answer["latency_ms"] < 60_000
    assert all(each["score"] is not None for each in answer["decision"]["candidates"])
    assert answer["decision"]["query"] == coffee.QUESTION


def test_no_app_has_a_line_about_ids():
    for file in (TREE / "examples" / "apps").glob("*_app.py"):
        text = file.read_text()

        assert [
            word for word in ("decision", "answer(", "feedback", "flush", "_id") if word in text
        ] == []


def _marks(said: str) -> list[int]:
    """Places, from 0, of the passages that the stand-in names."""
    return [int(said.rpartition("[")[2].rstrip("]")) - 1] if said.endswith("]") else []
