import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from service.disconnect import ClientLeft, unless_gone


class Client:
    """Says goodbye when told to."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http", "headers": []}, self.receive)


async def test_the_result_comes_through() -> None:
    async def work() -> int:
        return 7

    assert await unless_gone(Client().request, work()) == 7


async def test_so_does_a_failure() -> None:
    async def work() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await unless_gone(Client().request, work())


async def test_work_for_a_client_that_left_is_cancelled() -> None:
    client, cancelled = Client(), asyncio.Event()

    async def work() -> None:
        client.gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientLeft):
        await unless_gone(client.request, work())
    assert cancelled.is_set()


async def test_a_cancelled_route_cancels_its_work() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    route = asyncio.create_task(unless_gone(Client().request, work()))
    await started.wait()
    route.cancel()

    with pytest.raises(asyncio.CancelledError):
        await route
    assert cancelled.is_set()
