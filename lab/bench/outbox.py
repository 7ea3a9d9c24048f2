"""The benchmark's own queries on the outbox, and the fastest way to fill it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg
from asyncpg import Connection, Record

from lab.bench.messages import EVENT_TYPE, SUBJECTS, TRANSACTION_EVENTS, bodies

Database: TypeAlias = "Connection[Record]"

_LAST_ID = "SELECT coalesce(max(id), 0) FROM outbox.events"

_CURSOR_REACHED = "SELECT coalesce((SELECT last_id FROM outbox.pages ORDER BY page DESC LIMIT 1), 0) >= $1"

# The pages of one round: from the first event handed to the publisher to the last page's row in the cursor's log.
_DRAIN_SECONDS = "SELECT extract(epoch FROM max(confirmed_at) - min(sent_at)) FROM outbox.pages WHERE first_id > $1"

_CHANGED_ROWS = "SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE schemaname = 'outbox'"

_RELAYS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waybill-relay%'"""

_FILL = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data)
SELECT gen_random_uuid(), $1, 'order-' || (n % $2), 'urn:waybill:bench', clock_timestamp(), $3
FROM generate_series(1, $4::int) AS n"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    """A connection, closed afterwards."""
    database = await asyncpg.connect(url, server_settings={"application_name": "waybill-bench"})
    try:
        yield database
    finally:
        await database.close()


async def last_event(database: Database) -> int:
    """The highest id recorded so far."""
    return int(await database.fetchval(_LAST_ID))


async def cursor_reached(database: Database, last_id: int) -> bool:
    """Whether the newest page reaches this id; correct for events that were all recorded before the relay started."""
    return bool(await database.fetchval(_CURSOR_REACHED, last_id))


async def drain_seconds(database: Database, after_id: int) -> float:
    """Seconds that the relay took for the events above `after_id`."""
    return float(await database.fetchval(_DRAIN_SECONDS, after_id))


async def wal_position(database: Database) -> int:
    """Bytes of write-ahead log that all sessions have ever written."""
    return int(await database.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def checkpoint(database: Database) -> None:
    """Take a checkpoint, if allowed, so that the next is far away: after one, each page is logged whole once."""
    with suppress(asyncpg.InsufficientPrivilegeError):
        await database.execute("CHECKPOINT")


async def changed_rows(database: Database) -> int:
    """Rows of the outbox updated or deleted so far. A backend reports its last counts when it ends: waits for that."""
    while await database.fetchval(_RELAYS):  # noqa: ASYNC110 - Postgres gives no event for it
        await asyncio.sleep(0.02)
    await database.execute("SELECT pg_stat_force_next_flush()")
    await database.execute("SELECT pg_stat_clear_snapshot()")
    return int(await database.fetchval(_CHANGED_ROWS))


async def fill(database: Database, count: int) -> None:
    """Record events within the server, TRANSACTION_EVENTS a transaction."""
    body = bodies()[0]
    for start in range(0, count, TRANSACTION_EVENTS):
        await database.execute(_FILL, EVENT_TYPE, SUBJECTS, body, min(TRANSACTION_EVENTS, count - start))
