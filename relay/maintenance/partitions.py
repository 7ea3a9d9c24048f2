"""What the leader does beside carrying: segments are made ahead and dropped behind, required queues are checked.

The inbox's months are dropped here as well: consumers come and go by the dozen, a leader is one.

What the broker confirms while a required queue is missing has no copy there. So the cursor passes only what was
confirmed before a look that found every queue; from the look that misses one until it is back nothing is published, and
what the cursor had not passed is published again then.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from asyncpg import Connection, LockNotAvailableError, Record

from outbox.partitions.create import make_partitions, segments_left
from outbox.partitions.expire_events import expire_segment
from outbox.partitions.expire_inbox import expire_month
from outbox.partitions.expiry import ExpiryOutcome, ExpiryResult
from outbox.required_queues import required
from outbox.segments import EVENTS, PAGES
from relay.health import metrics
from relay.publisher import Publisher, PublisherLostError
from runtime.logging import get_logger

DESTINATIONS_SECONDS = 5.0
MISSING_SECONDS = 1.0  # while a queue is missing, or is back and not trusted yet
LOOKS_APART_SECONDS = 0.25  # while pages wait; a look at 17 queues costs 4 ms of CPU
SEGMENTS_SECONDS = 60.0
FORGET_TURNS = 60  # an hour: a month ends once a month, and to look at one may mean to read all of it
FEW = 4  # times as many segments are wanted ahead as are few; WaybillSegmentsRunOut says the same

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
        turn = await expire_segment(connection, retention, series)
        if turn is not None:
            _tell(turn)


async def forget_behind(connection: "Connection[Record]", retention: timedelta) -> bool:
    """Drop the inbox's months that nobody can ask for any more; False when one was cut short and is to be taken up."""
    while (turn := await expire_month(connection, retention)) is not None:
        _tell(turn)
        if turn.outcome is not ExpiryOutcome.DROPPED:
            return False
    return True


def _tell(turn: ExpiryResult) -> None:
    tell = {ExpiryOutcome.ATTACHED_AGAIN: log.error, ExpiryOutcome.POSTPONED: log.warning}.get(turn.outcome, log.info)
    tell(turn.outcome.value, segment=turn.partition)


async def keep_segments(connection: "Connection[Record]", retention: timedelta, inbox_retention: timedelta) -> None:
    """Make segments and months ahead and drop them behind, on a connection of its own, until cancelled."""
    forgotten = True
    for turn in itertools.count():
        await keep_partitions_ahead(connection)
        await drop_behind(connection, retention)
        if turn % FORGET_TURNS == 0 or not forgotten:
            forgotten = await forget_behind(connection, inbox_retention)
        await asyncio.sleep(SEGMENTS_SECONDS)


class QueuesMissingError(PublisherLostError):
    """Required queues went missing under events that the cursor has not passed: all of them are published again."""


class Stream(Protocol):
    """What the looks at the required queues are for: the carrier."""

    wants_look: asyncio.Event

    @property
    def open_events(self) -> int:
        """Events that may have been confirmed while a queue was missing."""

    def hold(self, *, publishing: bool) -> None:
        """Stop or resume publishing."""

    def looked(self, began: float) -> None:
        """All queues were there in a look that began then."""


class Destinations:
    """The required queues as one reign sees them. `complete`: whether the last look, of the reign before, found all."""

    def __init__(
        self, connection: "Connection[Record]", publisher: Publisher, stream: Stream, *, complete: bool
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._stream = stream
        self._complete = self._goes_on = complete

    async def check(self) -> None:
        """One look: hold publishing while a required queue is missing, and say which.

        Raises QueuesMissingError: which of the events that the cursor has not passed have no copy is not known.
        """
        began = asyncio.get_running_loop().time()
        queues = await required(self._connection)
        missing = await self._publisher.missing(queues)
        before, self._complete = self._complete, bool(queues) and not missing
        self._tell(queues, missing, back=self._complete and not before)
        # A queue that is back is bound a moment after it is declared: it counts from the second look on.
        self._goes_on = self._complete and before
        self._stream.hold(publishing=self._goes_on)
        metrics.HELD.set(not self._goes_on)
        if self._complete:
            self._stream.looked(began)
        elif before and self._stream.open_events:
            raise QueuesMissingError(f"required queues went missing under events on their way: {missing}")

    async def watch(self) -> None:
        """Check until cancelled: every few seconds, and sooner for a page that waits or a queue that is missing."""
        while True:
            await self.check()
            await asyncio.sleep(LOOKS_APART_SECONDS)
            longest = DESTINATIONS_SECONDS if self._goes_on else MISSING_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest - LOOKS_APART_SECONDS):
                    await self._stream.wants_look.wait()
            self._stream.wants_look.clear()

    def _tell(self, queues: Sequence[str], missing: Sequence[str], *, back: bool) -> None:
        metrics.MISSING_DESTINATIONS.set(len(missing))
        if missing:
            log.error("required_queues_missing", queues=missing, do="waybill topology apply")
        if not queues:
            log.error("no_required_queues", do="waybill topology apply")
        if back:
            log.info("required_queues_back")
