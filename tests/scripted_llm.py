"""An OpenAI-compatible server on a real socket that says what it is told to say."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(kw_only=True)
class Reply:
    """One answer of the server; `text` is what the model says."""

    text: str = '{"score": 0.5, "rationale": "so so"}'
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Instead of a completion."""
    wait_for: threading.Event | None = None


@dataclass(kw_only=True)
class ScriptedLlm:
    """Says each reply of the script once, then the last one again and again."""

    url: str
    script: list[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, headers: Mapping[str, str], request: dict[str, Any]) -> Reply:
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@dataclass(kw_only=True)
class ThinkingLlm(ScriptedLlm):
    """Says what a function makes of the prompt, once the script is at an end."""

    think: Callable[[str], str]

    def next(self, headers: Mapping[str, str], request: dict[str, Any]) -> Reply:
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            if self.script:
                return self.script.pop(0)
        prompt = request["prompt"] if "prompt" in request else request["messages"][-1]["content"]
        return Reply(text=self.think(prompt))


@contextmanager
def scripted_llm(
    *script: Reply, think: Callable[[str], str] | None = None
) -> Iterator[ScriptedLlm]:
    """think: what is said to a prompt after the script; without, its last reply is said again."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    llm = (
        ScriptedLlm(url=url, script=list(script))
        if think is None
        else ThinkingLlm(url=url, script=list(script), think=think)
    )
    server.llm = llm  # type: ignore[attr-defined] # the handler finds it there
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield llm
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.llm.next(dict(self.headers), request)  # type: ignore[attr-defined]
        if self.path not in SHAPES:
            reply = Reply(status=404)
        if reply.wait_for is not None:
            reply.wait_for.wait(10)
        body = SHAPES.get(self.path, _chat)(reply.text) if reply.body is None else reply.body
        self.send_response(reply.status)
        for name, value in {"content-length": str(len(body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def _chat(text: str) -> bytes:
    return _completion({"message": {"role": "assistant", "content": text}})


def _text(text: str) -> bytes:
    return _completion({"text": text})


SHAPES = {"/v1/chat/completions": _chat, "/v1/completions": _text}


def _completion(said: Mapping[str, object]) -> bytes:
    completion = {
        "model": "a-judge-2026",
        "choices": [{**said, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return json.dumps(completion).encode()
