from types import SimpleNamespace
from typing import Any

from sqlalchemy.exc import OperationalError

from trainer.lease import Lease
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


def test_a_signal_that_surfaces_as_an_error_of_the_database_ends_the_worker():
    ending = Ending()
    lease = LeaseOfABrokenDatabase(ending, failures=3)
    settings = SimpleNamespace(trainer_poll_s=0)
    context: Any = SimpleNamespace(settings=settings, engine=None, metrics=None)
    nothing: Any = None

    Worker(context, nothing, lease).run(ending)

    assert lease.left == 0
