"""What the cursor's statements cost, counted in pages read by Postgres: a long history must cost nothing."""

import json
from typing import Any

from outbox.reader import BOUNDS, ONE_PLAN, PAGE, SMALL_PAGE, SNAPSHOT
from tests.postgres import Asyncpg, connected, run

HISTORY = 50_000
FEW_BLOCKS = 60  # the index's path to the newest rows and a few rows; the history has a thousand times as many
RECORD = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data)
SELECT gen_random_uuid(), 'order.placed', 's' || n, 'urn:test', now(), '{}' FROM generate_series(1, $1) AS n"""


async def as_the_cursor(connection: Asyncpg) -> None:
    """The settings of the relay's connections."""
    for name, value in ONE_PLAN.items():
        await connection.execute(f"SET {name} = {value}")


async def blocks_read(connection: Asyncpg, statement: str, *values: Any) -> int:
    """Execute a prepared statement as the relay's connection plans it; the blocks that it touched."""
    prepared = await connection.prepare(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    plan = json.loads(await prepared.fetchval(*values))[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_a_new_event_is_found_without_reading_the_history(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,):
            await as_the_cursor(connection)
            await connection.execute(RECORD, HISTORY)
            await connection.execute("VACUUM ANALYZE outbox.events")
            old = await connection.fetchval(SNAPSHOT)
            await connection.execute(RECORD, 3)
            new = await connection.fetchval(SNAPSHOT)

            first, last, count, ids = await connection.fetchrow(BOUNDS, old, new, 500)  # type: ignore[misc]
            assert (last - first, count, len(ids)) == (2, 3, 3)
            assert await blocks_read(connection, BOUNDS, old, new, 500) < FEW_BLOCKS
            assert await blocks_read(connection, SMALL_PAGE, ids) < FEW_BLOCKS
            history = await blocks_read(connection, "SELECT count(*) FROM outbox.events WHERE data <> ''")
            assert history > 10 * FEW_BLOCKS

    run(scenario)


def test_a_page_of_a_backlog_without_statistics_reads_that_page_alone(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,):
            await as_the_cursor(connection)
            await connection.execute(RECORD, HISTORY)
            new = await connection.fetchval(SNAPSHOT)
            first, last, count, ids = await connection.fetchrow(BOUNDS, (1, 1, ()), new, 500)  # type: ignore[misc]
            assert (count, len(ids)) == (HISTORY, 500)

            assert await blocks_read(connection, PAGE, (1, 1, ()), new, first - 1, last, 500) < FEW_BLOCKS
            assert await blocks_read(connection, PAGE, (1, 1, ()), new, last - 500, last, 500) < FEW_BLOCKS

    run(scenario)
