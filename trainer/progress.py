"""How far a command is, on the terminal of whoever waits for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from rich.console import Console
from rich.progress import Progress

SAYING: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

Watch: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[], object]]]
"""Told what is waited for and how many of it; what it yields is called at each."""


@contextmanager
def watched(what: str, total: int) -> Iterator[Callable[[], object]]:
    """A line that says how many came."""
    with Progress(console=SAYING, transient=True) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda: progress.advance(bar)
