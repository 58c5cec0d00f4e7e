"""What the trainer's commands say on a terminal: results on stdout, how it goes and what is refused on stderr."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, NoReturn, TypeAlias

import typer
from rich.console import Console
from rich.progress import Progress

TELLING: Final = Console(highlight=False, markup=False, soft_wrap=True)
SAYING: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

Watch: TypeAlias = Callable[[str, int | None], AbstractContextManager[Callable[[], object]]]
"""Told what is waited for and how many of it, where that is known; what it yields is called at each."""


@contextmanager
def watched(what: str, total: int | None) -> Iterator[Callable[[], object]]:
    """A line that says how many came."""
    with Progress(console=SAYING, transient=True) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda: progress.advance(bar)


@contextmanager
def refusals(*kinds: type[Exception]) -> Iterator[None]:
    """A refusal is a message, not a traceback."""
    try:
        yield
    except kinds as refusal:
        refuse(str(refusal))


def refuse(message: str) -> NoReturn:
    SAYING.print(message, style="red")
    raise typer.Exit(1)
