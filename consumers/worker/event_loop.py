"""One asyncio loop per worker process; a task runs its coroutine on it and waits.

The loop turns only while a delivery runs: that is when its lease is renewed and its calls are answered. Connections
belong to the process that opened them, so everything is built after the fork.
"""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

Result = TypeVar("Result")


class EventLoop:
    """A loop that outlives the single delivery, so that connections are kept between deliveries."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def run(self, work: Coroutine[None, None, Result]) -> Result:
        """The result of `work`, run to its end."""
        return self._runner.run(work)

    def close(self) -> None:
        """End what still runs and close the loop."""
        self._runner.close()
