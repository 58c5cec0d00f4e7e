"""An app on a real socket, in the loop of the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from service.connection import Connection
from tests.serving import until


@contextlib.asynccontextmanager
async def on_a_socket(app: FastAPI) -> AsyncIterator[str]:
    """Its URL; whoever made the app runs its lifespan."""
    config = uvicorn.Config(
        app, port=0, http=Connection, ws="none", lifespan="off", log_level="critical"
    )
    server = uvicorn.Server(config)
    # The test's process keeps its own signal handlers.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
