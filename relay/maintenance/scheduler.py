"""Scheduler: turns due rows of `outbox.scheduled` into events, ordered by due time. Run by `relay.session`.

The forward scan starts at the last row moved, so it reads only rows that became due. A row that was committed late lies
behind that position. It is found by a rescan: of the last second on the same connection, of everything on another
connection, which a long scan may keep busy. A rescan reads the dead index entries of moved rows, millions while a
snapshot is held open for hours. So rescans take at most a 20th of the time: each is followed by a pause of 20 times its
duration.

A lock or a missing segment that keeps a due row from becoming an event does not stop the publishing of other events:
the scheduler repeats its scan after a pause while the session continues.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from asyncpg import Connection, DeadlockDetectedError, LockNotAvailableError, QueryCanceledError, Record

from outbox.due_messages import DuePosition, move_due, start
from outbox.missing_partition import NoSegmentError
from relay.health import metrics
from runtime.logging import get_logger

POLL_SECONDS = 0.1
LATE_POLL_SECONDS = 0.5
BATCH = 1000
# A writer commits milliseconds after it computed due_at; the clocks of writers differ by more than that.
RECENT = timedelta(seconds=1)
REST = 20  # times the duration of a rescan
POSTPONED_SECONDS = 1.0

# Errors that pass without a new connection. A TimeoutError of the connection itself is followed by another error.
POSTPONING = (NoSegmentError, LockNotAvailableError, DeadlockDetectedError, QueryCanceledError, TimeoutError)

T = TypeVar("T")

log = get_logger(__name__)


async def move_due_rows(onward: "Connection[Record]", back: "Connection[Record]") -> None:
    """Turn due rows into events until cancelled. Raises the database driver's errors."""
    while (place := await _unless_postponed(lambda: start(onward))) is None:
        pass
    mover = Mover(onward, back, place)
    async with asyncio.TaskGroup() as group:
        group.create_task(mover.keep_moving())
        group.create_task(mover.keep_moving_late())


class Mover:
    """The position in the schedule that one term has reached."""

    def __init__(self, onward: "Connection[Record]", back: "Connection[Record]", place: DuePosition) -> None:
        self._onward = onward
        self._back = back
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._rescan_at = 0.0

    async def keep_moving(self) -> None:
        """Move rows as they become due, until cancelled."""
        while True:
            rows = await _unless_postponed(self.move)
            if rows is not None and rows < BATCH:
                await asyncio.sleep(POLL_SECONDS)

    async def keep_moving_late(self) -> None:
        """Move rows that were committed late, until cancelled."""
        while True:
            began = self._loop.time()
            rows = await _unless_postponed(self.move_late)
            if rows is not None and rows < BATCH:
                await asyncio.sleep(max(LATE_POLL_SECONDS, REST * (self._loop.time() - began)))

    async def move(self) -> int:
        """Move one batch from the position reached, or from a second before it. Returns the rows moved."""
        began = self._loop.time()
        if began < self._rescan_at:
            return await self._move_after(self._place)
        rows = await self._move_after(DuePosition(self._place.due_at - RECENT, 0))
        ended = self._loop.time()
        self._rescan_at = ended + REST * (ended - began)
        return rows

    async def move_late(self) -> int:
        """Move one batch of rows that were committed behind the position reached. Returns the rows moved."""
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
    """Run `step` and return its result; None, after a pause, if it raised an error that passes."""
    try:
        return await step()
    except POSTPONING as error:
        described = f"{type(error).__name__}: {error}"
        log.warning("due_rows_postponed", error=described, retry_in_seconds=POSTPONED_SECONDS)
    await asyncio.sleep(POSTPONED_SECONDS)
    return None
