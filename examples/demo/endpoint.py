"""An OpenAI-compatible endpoint of our own, so that a real language model can take the place of a simulated one."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

HOST: Final = "127.0.0.1"
START_S: Final = 30.0

Say: TypeAlias = Callable[[str], str]
"""From the last message of a chat to what is said to it."""


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """What we read of a chat completion's request; the rest is accepted and ignored."""

    model: str
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


def app(say: Say) -> FastAPI:
    api = FastAPI(title="A simulated language model", openapi_url=None)

    @api.post("/v1/chat/completions")
    async def complete(request: ChatRequest) -> ChatResponse:
        answer = Message(role="assistant", content=say(request.messages[-1].content))
        return ChatResponse(
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
            model=request.model,
            choices=[Choice(message=answer)],
        )

    return api


@contextmanager
def running(say: Say) -> Iterator[str]:
    """The endpoint on a port of its own, in a thread; yields its base URL."""
    with socket.create_server((HOST, 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app(say), log_level="warning", lifespan="off", access_log=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        # The socket listens already: a request that comes before the server is up waits in it.
        yield f"http://{HOST}:{listening.getsockname()[1]}/v1"
        server.should_exit = True
        thread.join(START_S)
