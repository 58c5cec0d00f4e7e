from service.health import Health


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_neighbour_is_silent_when_it_said_nothing_for_too_long() -> None:
    clock = Clock()
    health = Health(silent_after_s=10.0, clock=clock)

    clock.now = 10.0
    assert list(health.silent) == []
    health.saw("redis")
    clock.now = 10.1
    assert list(health.silent) == ["postgres"]
    health.saw("postgres")
    assert list(health.silent) == []
