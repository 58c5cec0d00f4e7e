import asyncio

import pytest

from service.remember import Remembered


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """Makes 1, 2, 3, ..."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        self.made += 1
        return self.made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def remembered(clock: Clock) -> Remembered[int]:
    return Remembered(most=2, ttl_s=10.0, weigh=lambda _: 1, clock=clock)


async def test_the_first_value_is_given_again(remembered: Remembered[int]) -> None:
    make = Counter()

    assert await remembered.once(b"a", make) == (1, False)
    assert await remembered.once(b"a", make) == (1, True)


async def test_who_comes_meanwhile_waits_for_the_same_value(remembered: Remembered[int]) -> None:
    make = Counter()

    together = await asyncio.gather(*(remembered.once(b"a", make) for _ in range(4)))

    assert sorted(together) == [(1, False), (1, True), (1, True), (1, True)]


async def test_a_value_is_forgotten_with_age(remembered: Remembered[int], clock: Clock) -> None:
    make = Counter()

    await remembered.once(b"a", make)
    clock.now = 9.9
    assert await remembered.once(b"a", make) == (1, True)
    clock.now = 10.0
    assert await remembered.once(b"a", make) == (2, False)


async def test_the_oldest_is_forgotten_when_there_are_too_many(
    remembered: Remembered[int],
) -> None:
    make = Counter()

    for key in (b"a", b"b", b"c"):
        await remembered.once(key, make)

    assert await remembered.once(b"b", make) == (2, True)
    assert await remembered.once(b"a", make) == (4, False)


async def test_heavy_values_leave_room_for_fewer(clock: Clock) -> None:
    make = Counter()
    # 1 + 2 + 3 > 5 pushes the first one out; 2 + 3 = 5 stays.
    remembered = Remembered[int](most=5, ttl_s=10.0, weigh=lambda value: value, clock=clock)

    for key in (b"a", b"b", b"c"):
        await remembered.once(key, make)

    assert await remembered.once(b"b", make) == (2, True)
    assert await remembered.once(b"c", make) == (3, True)
    assert await remembered.once(b"a", make) == (4, False)


async def test_a_failure_is_not_remembered(remembered: Remembered[int]) -> None:
    async def fail() -> int:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        await remembered.once(b"a", fail)

    assert await remembered.once(b"a", Counter()) == (1, False)


async def test_who_waits_for_one_that_left_makes_it_himself(remembered: Remembered[int]) -> None:
    forever = asyncio.Event()

    async def never() -> int:
        await forever.wait()
        return 0

    first = asyncio.create_task(remembered.once(b"a", never))
    await asyncio.sleep(0)
    second = asyncio.create_task(remembered.once(b"a", Counter()))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == (1, False)
