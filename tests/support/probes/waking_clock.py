"""Time without the machine's pauses, for a bound on how long something may take.

A machine that stands still for seconds, because another's work has its cores, lets every clock go on and nothing else.
Held to such a clock a sound program is late now and then. This one counts what a thread that does nothing but sleep for
a moment lives to see: a wait that is too long by itself is found all the same.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TICK_SECONDS = 0.01
LONGEST_TICK_SECONDS = 0.05  # a busy machine wakes a sleeper so late; what is longer is a pause and counts as this


@dataclass
class WakingClock:
    """`seconds` in which this machine was awake, since it was asked for."""

    seconds: float = 0.0


@contextmanager
def waking_clock() -> Iterator[WakingClock]:
    """A clock that runs until the end of the block, and can be read after it."""
    clock, ended = WakingClock(), threading.Event()

    def count() -> None:
        before = time.monotonic()
        while not ended.wait(TICK_SECONDS):
            now = time.monotonic()
            clock.seconds += min(now - before, LONGEST_TICK_SECONDS)
            before = now

    counting = threading.Thread(target=count, name="awake")
    counting.start()
    try:
        yield clock
    finally:
        ended.set()
        counting.join()
