"""Work for a client that left is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from service.errors import HttpRefusal

T = TypeVar("T")


class ClientLeft(HttpRefusal):
    """Nobody waits for the answer any more; the status is for the log alone."""

    status = 499


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work.  Raises `ClientLeft`, with the work cancelled, when the client leaves before it.

    The body has to be read before: what arrives after it can only be the goodbye.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
