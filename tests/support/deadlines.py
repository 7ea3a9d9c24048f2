"""Waiting in tests: until a condition holds, within a time that only a hang exceeds.

A busy machine pauses for seconds. Each wait ends as soon as its condition holds, so a generous bound costs nothing.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ANSWER_SECONDS = 60
PAUSE_SECONDS = 0.02


def wait_until(reached: Callable[[], object], what: str = "the condition", seconds: float = ANSWER_SECONDS) -> None:
    """Return once `reached()` is true."""
    first_answer(reached, bool, what, seconds)


def first_answer(
    question: Callable[[], T],
    wanted: Callable[[T], bool],
    what: str = "the wanted answer",
    seconds: float = ANSWER_SECONDS,
) -> T:
    """The first answer to a question that is the wanted one."""
    deadline = time.monotonic() + seconds
    while not wanted(answer := question()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s; the last answer was {answer!r}"
        time.sleep(PAUSE_SECONDS)
    return answer


async def until(reached: Callable[[], object], what: str = "the condition", seconds: float = ANSWER_SECONDS) -> None:
    """As `wait_until`, on a running loop."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"{what} did not hold within {seconds} s"
        await asyncio.sleep(PAUSE_SECONDS / 4)
