"""A progress meter: a bar on a terminal, a line every few seconds anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_SECONDS = 3.0


class Meter(Protocol):
    """Shows how much is done in all, with a note."""

    def __call__(self, done: int, note: str = "") -> None:
        """Show it."""


@contextmanager
def meter(console: Console, title: str, total: int) -> Iterator[Meter]:
    """A meter from 0 to `total` for the time of the block."""
    if not console.is_terminal:
        yield _Lines(console, title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, note="")

        def show(done: int, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield show


class _Lines:
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, done: int, note: str = "") -> None:
        if time.monotonic() < self._next and done < self._total:
            return
        self._next = time.monotonic() + LINE_SECONDS
        self._console.print(f"{self._title}: {done} of {self._total} {note}".rstrip(), markup=False, soft_wrap=True)
