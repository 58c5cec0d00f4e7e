"""What the demo shows while it runs: a live bar in a terminal, plain lines anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

LINE_EVERY_S: Final = 10.0


class Show:
    """Says things as they happen, above the bar where there is one."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started_at = time.monotonic()

    def say(self, line: str, *, style: str = "") -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started_at), 60)
        text = Text.assemble((f"{minutes:02d}:{seconds:02d}  ", "dim"), (line, style))
        self.console.print(text, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, *, total: int) -> Iterator["Bar"]:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        ) as progress:
            yield Bar(self, progress, title=title, total=total)


class Bar:
    """How far one phase has come."""

    def __init__(self, show: Show, progress: Progress, *, title: str, total: int) -> None:
        self._show, self._progress = show, progress
        self._title, self._total = title, total
        self._task = progress.add_task(title, total=total, note="")
        self._said_at = time.monotonic()
        self._said = 0

    def update(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)
        now = time.monotonic()
        has_ended = self._said < done == self._total
        if self._progress.disable and (now - self._said_at >= LINE_EVERY_S or has_ended):
            self._said_at, self._said = now, done
            self._show.say(f"{self._title} {done}/{self._total}  {note}")
