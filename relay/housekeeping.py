"""What the leader does beside carrying: segments are made ahead and dropped behind, required queues are checked.

What the broker confirms while a required queue is missing has no copy there. So the queues are looked at every second,
and publishing is held from the look that misses one to the look that finds it.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from asyncpg import Connection, LockNotAvailableError, Record

from outbox.destinations import required
from outbox.expiry import Outcome, expire
from outbox.retention import EVENTS, PAGES, make_partitions, segments_left
from relay import metrics
from relay.publisher import Publisher
from runtime.logging import get_logger

DESTINATIONS_SECONDS = 1.0
SEGMENTS_SECONDS = 60.0
FEW = 8  # times as many segments stand ahead as are few

log = get_logger(__name__)


async def keep_partitions_ahead(connection: "Connection[Record]") -> None:
    """Make the partitions that are missing ahead."""
    for series in (EVENTS, PAGES):
        left = await segments_left(connection, series)
        if left < series.ahead // FEW:
            log.error("segments_running_out", table=series.table, left=left, wanted=series.ahead)
    try:
        made = await make_partitions(connection)
    except LockNotAvailableError as error:
        log.warning("partitions_postponed", reason=str(error))
        return
    if made:
        log.info("partitions_made", made=made)


async def drop_behind(connection: "Connection[Record]", retention: timedelta) -> None:
    """Drop the oldest segment of each table if nobody needs it any more."""
    for series in (EVENTS, PAGES):
        turn = await expire(connection, retention, series)
        if turn is not None:
            tell = {Outcome.ATTACHED_AGAIN: log.error, Outcome.POSTPONED: log.warning}.get(turn.outcome, log.info)
            tell(turn.outcome.value, segment=turn.segment)


async def keep_segments(connection: "Connection[Record]", retention: timedelta) -> None:
    """Make segments ahead and drop them behind, on a connection of its own, until cancelled."""
    while True:
        await keep_partitions_ahead(connection)
        await drop_behind(connection, retention)
        await asyncio.sleep(SEGMENTS_SECONDS)


class Destinations:
    """The required queues as one reign sees them. `hold` is told whether events may be published."""

    def __init__(self, connection: "Connection[Record]", publisher: Publisher, hold: Callable[[bool], None]) -> None:
        self._connection = connection
        self._publisher = publisher
        self._hold = hold
        self._complete = True

    async def check(self) -> None:
        """Hold publishing while a required queue is missing, and say which."""
        queues = await required(self._connection)
        missing = await self._publisher.missing(queues)
        metrics.MISSING_DESTINATIONS.set(len(missing))
        if missing:
            log.error("required_queues_missing", queues=missing, do="waybill topology apply")
        if not queues:
            log.error("no_required_queues", do="waybill topology apply")
        before, self._complete = self._complete, bool(queues) and not missing
        if self._complete and not before:
            log.info("required_queues_back")
        # A queue that is back is bound a moment after it is declared: it counts from the second look on.
        self._hold(self._complete and before)

    async def watch(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(DESTINATIONS_SECONDS)
