"""Partition maintenance of the leader: partitions are created ahead and expired behind. Run by `relay.session`.

Writers need a segment for every new event, so segments are created far ahead. Behind, segments of `outbox.events` and
`outbox.pages` and months of the inbox are dropped once they are past retention. The inbox's months are a duty of the
relay because there is one leader and there are many consumers. The algorithms are in `outbox.partitions`.
"""

import asyncio
import itertools
from datetime import timedelta

from asyncpg import Connection, LockNotAvailableError, Record

from outbox.partitions.create import make_partitions, segments_left
from outbox.partitions.expire_events import expire_segment
from outbox.partitions.expire_inbox import expire_month
from outbox.partitions.expiry import ExpiryOutcome, ExpiryResult
from outbox.segments import EVENTS, PAGES
from runtime.logging import get_logger

TURN_SECONDS = 60.0
INBOX_TURNS = 60  # an hour: a month ends once a month, and checking one may mean reading all of it
FEW = 4  # times as many segments are wanted ahead as are few; WaybillSegmentsRunOut uses the same ratio

log = get_logger(__name__)


async def keep_partitions(connection: "Connection[Record]", retention: timedelta, inbox_retention: timedelta) -> None:
    """Create ahead and expire behind, once a minute, until cancelled. The connection has no other duty."""
    inbox_done = True
    for turn in itertools.count():
        await keep_partitions_ahead(connection)
        await expire_behind(connection, retention)
        if turn % INBOX_TURNS == 0 or not inbox_done:
            inbox_done = await expire_inbox_behind(connection, inbox_retention)
        await asyncio.sleep(TURN_SECONDS)


async def keep_partitions_ahead(connection: "Connection[Record]") -> None:
    """Create the partitions that are missing ahead."""
    for series in (EVENTS, PAGES):
        left = await segments_left(connection, series)
        if left < series.ahead // FEW:
            log.error("segments_running_out", table=series.table, left=left, wanted=series.ahead)
    try:
        made = await make_partitions(connection)
    except LockNotAvailableError as error:
        log.warning("partitions_postponed", error=str(error))
        return
    if made:
        log.info("partitions_made", made=made)


async def expire_behind(connection: "Connection[Record]", retention: timedelta) -> None:
    """Drop the oldest segment of each table if it is past retention and nothing needs it."""
    for series in (EVENTS, PAGES):
        turn = await expire_segment(connection, retention, series)
        if turn is not None:
            _log(turn)


async def expire_inbox_behind(connection: "Connection[Record]", retention: timedelta) -> bool:
    """Drop the months of the inbox that are past retention. False if a drop was cut short and must be resumed."""
    while (turn := await expire_month(connection, retention)) is not None:
        _log(turn)
        if turn.outcome is not ExpiryOutcome.DROPPED:
            return False
    return True


def _log(turn: ExpiryResult) -> None:
    write = {ExpiryOutcome.ATTACHED_AGAIN: log.error, ExpiryOutcome.POSTPONED: log.warning}.get(turn.outcome, log.info)
    write(turn.outcome.value, segment=turn.partition)
