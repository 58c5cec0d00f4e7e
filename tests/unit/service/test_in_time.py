import asyncio

import pytest

from service import in_time
from service.errors import DatabaseAway


async def test_what_nobody_waits_for_any_more_ends_with_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_time, "WAIT_S", 0.01)
    connection_is_back = asyncio.Event()

    @in_time.in_time
    async def frozen() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            connection_is_back.set()

    with pytest.raises(DatabaseAway):
        await frozen()
    assert not connection_is_back.is_set()

    await in_time.end_overdue()
    assert connection_is_back.is_set()
