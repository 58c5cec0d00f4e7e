"""The memory of a retired model goes back to the system once nobody holds the model any more.

The allocator keeps freed pages for later, so that without asking for them a service that swaps would stay as large as
two models. A request may hold a model longer than its slot does: the last one to let go of it starts the return.
"""

import ctypes
import threading
import weakref
from collections.abc import Callable
from typing import Final

_SOON_S: Final = 0.2
"""Whoever watches an object hears of its end just before its memory is free."""


def trim() -> None:
    """Gives free pages back, where the allocator can: glibc's."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def when_gone(model: object, do: Callable[[], None] = trim) -> None:
    """Does it soon after the last holder has let go of the model, on a thread of its own."""
    # A process that ends gives everything back.
    weakref.finalize(model, _soon, do).atexit = False


def _soon(do: Callable[[], None]) -> None:
    timer = threading.Timer(_SOON_S, do)
    timer.daemon = True
    timer.start()
