import asyncio

import pytest

from service.background import finished_within, kept_running


async def test_work_goes_on_beside_the_block_and_ends_with_it() -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with kept_running(work()) as task:
        await running.wait()
        assert not task.done()

    assert cancelled.is_set()


async def test_work_that_dies_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("out of the blue")

    async with kept_running(work()) as task:
        await asyncio.wait([task])

    assert "background.died" in caplog.text
    assert "out of the blue" in caplog.text


async def test_nobody_waits_longer_than_told() -> None:
    task = asyncio.create_task(asyncio.Event().wait())

    assert not await finished_within(task, 0.01)
    task.cancel()
    assert await finished_within(task, 10.0)
