"""The simulated reader behind an OpenAI-compatible endpoint, so that a real language model can take its place."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from examples.demo import prompt
from examples.demo.grading import NOT_STATED
from examples.demo.worlds import Read

MODEL: Final = "simulated-reader"
HOST: Final = "127.0.0.1"
START_S: Final = 30.0


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """What we read of a chat completion's request; the rest is accepted and ignored."""

    model: str = MODEL
    messages: list[Message]


class Choice(BaseModel):
    index: int = 0
    message: Message
    finish_reason: Literal["stop"] = "stop"


class ChatResponse(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]


def app(read: Read) -> FastAPI:
    """The endpoint; it answers the last message from the passages in it."""
    api = FastAPI(title="A simulated reader", openapi_url=None)

    @api.post("/v1/chat/completions")
    async def complete(request: ChatRequest) -> ChatResponse:
        answer = Message(role="assistant", content=_said(read, request.messages[-1].content))
        return ChatResponse(
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
            model=request.model,
            choices=[Choice(message=answer)],
        )

    return api


def _said(read: Read, message: str) -> str:
    """The answer of the first passage that states one, which it cites."""
    question, used = prompt.parse(message)
    for place, text in enumerate(used, start=1):
        answer = read(question, [text])
        if answer != NOT_STATED:
            return prompt.cite(answer, place)
    return NOT_STATED


@contextmanager
def running(read: Read) -> Iterator[str]:
    """The endpoint on a port of its own, in a thread; yields its base URL."""
    with socket.create_server((HOST, 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app(read), log_level="warning", lifespan="off", access_log=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        # The socket listens already: a request that comes before the server is up waits in it.
        yield f"http://{HOST}:{listening.getsockname()[1]}/v1"
        server.should_exit = True
        thread.join(START_S)
