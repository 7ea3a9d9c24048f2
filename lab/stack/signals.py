"""SIGTERM and SIGINT during a run that has to clean up after itself."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM arrived: the program exits through every `finally`, with the exit code that a shell expects."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise Terminated in the block, as Ctrl-C raises KeyboardInterrupt. Main thread only."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore both signals in the block: a second Ctrl-C must not interrupt the clean-up, which has time limits."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
