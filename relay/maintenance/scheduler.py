"""The leader turns due rows of the schedule into events, in order of being due.

One connection looks on from the last row moved, so that it reads what became due and nothing else. A row committed
late, whose place has been passed, is found by looking back: a little way on the same connection, all the way on
another, which a long look may keep busy. Looking back reads the dead entries of moved rows, millions when a snapshot is
held open for hours; so it takes at most a 20th of the time, and rests longer the longer it took.

What keeps a due row from becoming an event, a lock or a segment that is missing, keeps no other event from being
published: the mover tries again after a pause while the session goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from asyncpg import Connection, DeadlockDetectedError, LockNotAvailableError, QueryCanceledError, Record

from outbox.record import NoSegmentError
from outbox.schedule import DuePosition, move_due, start
from relay.health import metrics
from runtime.logging import get_logger

POLL_SECONDS = 0.1
LATE_POLL_SECONDS = 0.5
BATCH = 1000
# A writer's way from reckoning due_at to its commit is milliseconds; clocks of writers differ by more.
RECENT = timedelta(seconds=1)
REST = 20  # times as long as looking back took
POSTPONED_SECONDS = 1.0

# What passes without another connection. A TimeoutError of the connection itself is followed by another error.
POSTPONING = (NoSegmentError, LockNotAvailableError, DeadlockDetectedError, QueryCanceledError, TimeoutError)

T = TypeVar("T")

log = get_logger(__name__)


async def move_due_rows(onward: "Connection[Record]", back: "Connection[Record]") -> None:
    """Turn due rows into events until cancelled. Raises what the database driver raises."""
    while (place := await _unless_postponed(lambda: start(onward))) is None:
        pass
    mover = Mover(onward, back, place)
    async with asyncio.TaskGroup() as group:
        group.create_task(mover.keep_moving())
        group.create_task(mover.keep_looking_back())


class Mover:
    """How far one reign has moved the schedule."""

    def __init__(self, onward: "Connection[Record]", back: "Connection[Record]", place: DuePosition) -> None:
        self._onward = onward
        self._back = back
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._look_back_at = 0.0

    async def keep_moving(self) -> None:
        """Move what becomes due until cancelled."""
        while True:
            rows = await _unless_postponed(self.move)
            if rows is not None and rows < BATCH:
                await asyncio.sleep(POLL_SECONDS)

    async def keep_looking_back(self) -> None:
        """Move what was committed late until cancelled."""
        while True:
            began = self._loop.time()
            rows = await _unless_postponed(self.move_late)
            if rows is not None and rows < BATCH:
                await asyncio.sleep(max(LATE_POLL_SECONDS, REST * (self._loop.time() - began)))

    async def move(self) -> int:
        """One batch on from the place reached, or from a little before it; how many rows became events."""
        began = self._loop.time()
        if began < self._look_back_at:
            return await self._move_after(self._place)
        rows = await self._move_after(DuePosition(self._place.due_at - RECENT, 0))
        ended = self._loop.time()
        self._look_back_at = ended + REST * (ended - began)
        return rows

    async def move_late(self) -> int:
        """One batch of those whose place was passed before they were committed; how many rows became events."""
        moved = await move_due(self._back, BATCH, before=self._place)
        metrics.SCHEDULED_MOVED.inc(moved.rows)
        return moved.rows

    async def _move_after(self, after: DuePosition) -> int:
        moved = await move_due(self._onward, BATCH, after)
        metrics.SCHEDULED_MOVED.inc(moved.rows)
        if moved.last is not None:
            self._place = max(self._place, moved.last)
        return moved.rows


async def _unless_postponed(step: Callable[[], Awaitable[T]]) -> T | None:
    """What `step` returns; None, after a pause, when something that passes stood in its way."""
    try:
        return await step()
    except POSTPONING as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("due_rows_postponed", reason=reason, next_try_seconds=POSTPONED_SECONDS)
    await asyncio.sleep(POSTPONED_SECONDS)
    return None
