import math
from collections import Counter
from collections.abc import Collection

import pytest

from service.bench.trial import Arm, Trial, halved, median_interval, simplest, stages

DEFAULT = Arm(precision="float32", threads=4, batch_tokens=1024)
FEWER = Arm(precision="float32", threads=2, batch_tokens=1024)
LARGER = Arm(precision="float32", threads=4, batch_tokens=4096)
BOTH = Arm(precision="float32", threads=2, batch_tokens=4096)
ROUGH = Arm(precision="int8", threads=4, batch_tokens=1024)


class Machine:
    """Takes as long as it is told, on a clock of its own; every third round all of it is ten times slower."""

    def __init__(self, seconds: dict[Arm, float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.rounds: dict[int, list[Arm]] = {}

    def clock(self) -> float:
        return self.now

    async def measure(self, arm: Arm, number: int) -> float:
        took = self.seconds[arm] * (10 if number % 3 == 0 else 1)
        self.now += took
        self.rounds.setdefault(number, []).append(arm)
        return took


async def run(
    machine: Machine, *, kept: frozenset[Arm] = frozenset({DEFAULT}), seconds: float = 0
) -> tuple[Trial, list[Arm], list[list[Arm]]]:
    told: list[list[Arm]] = []

    def tell(arms: Collection[Arm]) -> None:
        told.append(list(arms))

    trial, left = await halved(
        machine.seconds,
        machine.measure,
        kept=kept,
        reference=DEFAULT,
        seconds=seconds,
        told=tell,
        clock=machine.clock,
    )
    return trial, left, told


def trial(seconds: dict[Arm, list[float]]) -> Trial:
    return Trial(reference=DEFAULT, seconds=seconds)


def test_half_of_them_go_on_until_few_are_left() -> None:
    assert stages(10, at_least=3) == [10, 5, 3]
    assert stages(3, at_least=3) == [3]
    assert stages(1, at_least=2) == [1]


async def test_the_slow_ones_are_dropped_and_the_kept_ones_never() -> None:
    sizes = (1024, 2048, 4096, 8192, 16384)
    others = [Arm(precision="float32", threads=1, batch_tokens=size) for size in sizes]
    seconds = {DEFAULT: 9.0, **dict(zip(others, (5.0, 4.0, 3.0, 2.0, 1.0), strict=True))}

    found, left, told = await run(Machine(seconds))

    assert [len(arms) for arms in told] == [6, 3, 2]
    assert left == [DEFAULT, others[-1]]
    assert set(told[1]) == {DEFAULT, *others[3:]}
    assert found.slowness(others[-1]) == pytest.approx(1 / 9)


async def test_every_round_asks_everybody_that_is_left_once() -> None:
    machine = Machine({DEFAULT: 1.0, FEWER: 2.0, LARGER: 3.0, BOTH: 4.0})

    await run(machine)

    assert [sorted(arms) for arms in machine.rounds.values()] == [
        *[sorted([DEFAULT, FEWER, LARGER, BOTH])] * 2,
        *[sorted([DEFAULT, FEWER])] * 2,
    ]
    assert len({tuple(arms) for arms in machine.rounds.values()}) > 2


async def test_the_time_is_shared_out_among_the_stages() -> None:
    machine = Machine({DEFAULT: 1.0, FEWER: 1.0, LARGER: 1.0, BOTH: 1.0})

    await run(machine, seconds=400)

    asked = Counter(len(arms) for arms in machine.rounds.values())
    # A round takes 1 s for each setting, in every third round 10 s: 4 s on average. The stages have 200 s each.
    assert asked[4] == pytest.approx(200 / (4 * 4), abs=2)
    assert asked[2] == pytest.approx(200 / (2 * 4), abs=2)


def test_a_ratio_is_taken_within_rounds() -> None:
    found = trial({DEFAULT: [1.0, 10.0, 2.0], FEWER: [2.0, 20.0, 4.0]}).ratio(FEWER, DEFAULT)

    assert [found.value, found.low, found.high] == pytest.approx([2.0, 2.0, 2.0])
    assert not found.is_noise


def test_who_was_dropped_is_compared_over_the_rounds_that_it_saw() -> None:
    seen = trial({DEFAULT: [1.0, 1.0, 5.0, 5.0], FEWER: [3.0, 3.0]})

    assert seen.slowness(FEWER) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("count", "outside"),
    [
        (5, 0),
        # Outside the range of n values lies the median in 2 / 2^n of all cases, outside all but the
        # outermost ones in 2 (1 + n) / 2^n: of 6 values 3.1 % and 22 %, of 9 values .4 % and 3.9 %.
        (6, 0),
        (8, 0),
        (9, 1),
    ],
)
def test_the_interval_of_a_median_leaves_out_as_much_as_95_percent_allow(
    count: int, outside: int
) -> None:
    values = [float(number) for number in range(count)]

    assert median_interval(values) == ((count - 1) / 2, outside, count - 1 - outside)


def test_within_noise_the_default_stays() -> None:
    noisy = trial({DEFAULT: [1.0, 1.2, 0.9, 1.1, 1.0, 1.1], FEWER: [0.9, 1.0, 1.0, 0.8, 0.9, 1.0]})

    assert noisy.ratio(DEFAULT, FEWER).is_noise
    assert simplest(noisy, [DEFAULT, FEWER], default=DEFAULT, exact="float32") == DEFAULT


def test_a_certain_trifle_is_not_worth_a_setting_and_a_certain_gain_is() -> None:
    def chosen(gain: float) -> Arm:
        seen = trial({DEFAULT: [1.0] * 8, FEWER: [1.0 - gain] * 8})
        return simplest(seen, [DEFAULT, FEWER], default=DEFAULT, exact="float32")

    assert chosen(0.01) == DEFAULT
    assert chosen(0.05) == FEWER


def test_of_equally_quick_settings_the_one_with_more_defaults_is_chosen() -> None:
    seen = trial({DEFAULT: [2.0] * 8, BOTH: [1.0] * 8, LARGER: [1.005] * 8})

    assert simplest(seen, [DEFAULT, BOTH, LARGER], default=DEFAULT, exact="float32") == LARGER


def test_float32_is_preferred_where_int8_is_no_quicker() -> None:
    seen = trial({DEFAULT: [1.0] * 8, ROUGH: [0.99] * 8})

    assert simplest(seen, [DEFAULT, ROUGH], default=ROUGH, exact="float32") == DEFAULT


def test_ratios_multiply() -> None:
    seen = trial({DEFAULT: [1.0] * 3, FEWER: [2.0] * 3, BOTH: [8.0] * 3})

    assert math.isclose(seen.ratio(BOTH, FEWER).value * seen.slowness(FEWER), seen.slowness(BOTH))
