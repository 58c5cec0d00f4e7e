import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from service.aside import MOST, Aside
from service.errors import Overloaded
from service.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def aside(metrics: Metrics) -> Iterator[Aside]:
    with ThreadPoolExecutor(1) as thread:
        yield Aside(thread, metrics)


async def test_work_is_done_on_another_thread(aside: Aside):
    assert await aside.run(threading.get_ident) != threading.get_ident()


async def test_what_the_work_raises_is_raised(aside: Aside):
    with pytest.raises(ValueError, match="invalid literal"):
        await aside.run(int, "many")


def test_so_many_are_let_in_and_the_next_is_counted_and_refused(aside: Aside, metrics: Metrics):
    with ExitStack() as inside:
        for _ in range(MOST):
            inside.enter_context(aside.admitted())
        with pytest.raises(Overloaded), aside.admitted():
            pass

    assert metrics.registry.get_sample_value("rankloop_overloaded_total") == 1
    with aside.admitted():
        pass
