"""Loops of a process: a pause that a stop ends, a pause that grows, and a loop around `run_once`.

The loop sleeps and stops; `run_once` does the work and is what tests call.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


class Backoff:
    """A pause that starts with `first` seconds and doubles with each call of `next`, up to `longest`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._seconds = first

    def next(self) -> float:
        """The seconds to wait now; the next call returns twice as many, up to `longest`."""
        seconds, self._seconds = self._seconds, min(self._seconds * 2, self._longest)
        return seconds

    def reset(self) -> None:
        """Start with `first` again, after a success."""
        self._seconds = self._first


async def sleep_until(event: asyncio.Event, seconds: float) -> bool:
    """Sleep, but no longer than until `event` is set; whether it is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def keep_running(run_once: Callable[[], Awaitable[object]], pause: float, stopping: asyncio.Event) -> None:
    """Call `run_once` until `stopping` is set, with a pause of so many seconds after each call.

    Errors of `run_once` are raised.
    """
    while not stopping.is_set():
        await run_once()
        await sleep_until(stopping, pause)
