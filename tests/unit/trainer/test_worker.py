from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from trainer.lease import Lease
from trainer.metrics import Metrics
from trainer.ranks import RanksParted
from trainer.worker import Ending, Worker


class LeaseOfABrokenDatabase(Lease):
    """Fails so many times, and is told to end at the last."""

    def __init__(self, ending, *, failures):
        self.ending = ending
        self.left = failures

    def take(self):
        self.left -= 1
        self.ending.is_due = self.left == 0
        raise OperationalError("select", {}, Exception("the connection is gone"))


class LeaseWithoutLuck(Lease):
    """Every poll fails otherwise than by the database, until it is told to end."""

    def __init__(self, ending, *, failures, error):
        self.ending = ending
        self.left = failures
        self.error = error

    def take(self):
        self.left -= 1
        self.ending.is_due = self.left == 0
        raise self.error


def polled(error):
    """What is left of three polls that fail like this, and what was counted."""
    ending, metrics = Ending(), Metrics()
    lease = LeaseWithoutLuck(ending, failures=3, error=error)
    settings = SimpleNamespace(trainer_poll_s=0)
    context: Any = SimpleNamespace(settings=settings, engine=None, metrics=metrics)
    nothing: Any = None
    Worker(context, nothing, lease).run(ending)
    return lease.left, metrics.registry.get_sample_value("rankloop_trainer_failed_polls_total")


def test_a_poll_that_fails_is_counted_and_the_next_one_comes():
    assert polled(OSError("the store is away")) == (0, 3)


def test_ranks_that_parted_end_the_worker():
    with pytest.raises(RanksParted):
        polled(RanksParted("one of them is gone"))


def test_a_signal_that_surfaces_as_an_error_of_the_database_ends_the_worker():
    ending = Ending()
    lease = LeaseOfABrokenDatabase(ending, failures=3)
    settings = SimpleNamespace(trainer_poll_s=0)
    context: Any = SimpleNamespace(settings=settings, engine=None, metrics=None)
    nothing: Any = None

    Worker(context, nothing, lease).run(ending)

    assert lease.left == 0
