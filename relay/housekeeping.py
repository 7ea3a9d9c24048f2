"""What the leader does beside carrying: due rows become events, partitions stand ahead, required queues are checked."""

import asyncio
from collections.abc import Callable

from asyncpg import Connection, Record

from outbox.destinations import required
from outbox.retention import make_partitions, segments_left
from outbox.schedule import move_due
from relay import metrics
from relay.publisher import Publisher
from runtime.logging import get_logger

DUE_POLL_SECONDS = 0.1
DUE_BATCH = 1000
DESTINATIONS_SECONDS = 10.0
MISSING_POLL_SECONDS = 1.0

log = get_logger(__name__)


async def move_due_rows(connection: "Connection[Record]") -> None:
    """Turn due rows into events until cancelled."""
    while True:
        moved = await move_due(connection, DUE_BATCH)
        metrics.SCHEDULED_MOVED.inc(moved)
        if moved < DUE_BATCH:
            await asyncio.sleep(DUE_POLL_SECONDS)


async def keep_partitions_ahead(connection: "Connection[Record]") -> None:
    """Make the partitions that are missing ahead."""
    made = await make_partitions(connection)
    if made:
        log.info("partitions_made", made=made)
    metrics.SEGMENTS_LEFT.set(await segments_left(connection))


async def check_destinations(
    connection: "Connection[Record]", publisher: Publisher, hold: Callable[[bool], None]
) -> list[str]:
    """The required queues that are missing; publishing is held while there are any."""
    queues = await required(connection)
    missing = await publisher.missing(queues)
    metrics.MISSING_DESTINATIONS.set(len(missing))
    if missing:
        log.error("required_queues_missing", queues=missing, do="waybill topology apply")
    if not queues:
        log.error("no_required_queues", do="waybill topology apply")
    hold(bool(queues) and not missing)
    return missing if queues else ["(none declared)"]


async def watch(connection: "Connection[Record]", publisher: Publisher, hold: Callable[[bool], None]) -> None:
    """Check the required queues, more often while one is missing, and the partitions, until cancelled."""
    while True:
        missing = await check_destinations(connection, publisher, hold)
        await keep_partitions_ahead(connection)
        await asyncio.sleep(MISSING_POLL_SECONDS if missing else DESTINATIONS_SECONDS)
