import threading

from service import retired


class Model:
    """Something that can be held."""


def test_what_is_done_with_the_memory_waits_for_the_last_holder() -> None:
    done = threading.Event()
    model = Model()
    holders = [model, model]
    retired.when_gone(model, done.set)

    del model
    holders.pop()
    assert not done.wait(0.3)
    holders.pop()

    assert done.wait(10)


def test_memory_can_be_given_back_at_any_time() -> None:
    retired.trim()
