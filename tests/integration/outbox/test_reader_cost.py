"""What the cursor's statements cost, counted in pages read by Postgres: a long history must cost nothing."""

import json
from typing import Any

from outbox.reader import FIRST_PAGE, NOTHING_SEEN, ONE_PLAN, PAGE, SNAPSHOT
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
    """Execute a statement as the relay's connection does, with the plan for any values; the blocks that it touched.

    EXPLAIN with parameters would make a plan for these values alone; EXPLAIN EXECUTE shows the one that is kept.
    """
    await connection.execute(f"PREPARE measured AS {statement}")
    literals = ", ".join(_literal(value) for value in values)
    try:
        plan = json.loads(
            await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured({literals})")
        )[0]["Plan"]
    finally:
        await connection.execute("DEALLOCATE measured")
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        xmin, xmax, running = value
        return f"'{xmin}:{xmax}:{','.join(map(str, running))}'"
    return str(value)


def test_a_new_event_is_found_without_reading_the_history(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,):
            await as_the_cursor(connection)
            await connection.execute(RECORD, HISTORY)
            await connection.execute("VACUUM ANALYZE outbox.events")
            old = await connection.fetchval(SNAPSHOT)
            await connection.execute(RECORD, 3)
            new, reach = await connection.fetchrow(SNAPSHOT)  # type: ignore[misc]

            found = await connection.fetch(FIRST_PAGE, old, new, 0, reach, 500)
            assert [row["id"] for row in found] == [HISTORY + 1, HISTORY + 2, HISTORY + 3]
            assert await blocks_read(connection, FIRST_PAGE, old, new, 0, reach, 500) < FEW_BLOCKS
            history = await blocks_read(connection, "SELECT count(*) FROM outbox.events WHERE data <> $1", "'x'")
            assert history > 10 * FEW_BLOCKS

    run(scenario)


def test_a_page_of_a_backlog_without_statistics_reads_that_page_alone(shared_database_url: str) -> None:
    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,):
            await as_the_cursor(connection)
            await connection.execute(RECORD, HISTORY)
            new, reach = await connection.fetchrow(SNAPSHOT)  # type: ignore[misc]
            first = await connection.fetch(FIRST_PAGE, NOTHING_SEEN, new, 0, reach, 500)
            assert [row["id"] for row in first] == list(range(1, 501))
            assert {row[0] for row in first} == {HISTORY}

            assert await blocks_read(connection, PAGE, NOTHING_SEEN, new, 500, HISTORY, 500) < FEW_BLOCKS
            assert await blocks_read(connection, PAGE, NOTHING_SEEN, new, HISTORY - 500, HISTORY, 500) < FEW_BLOCKS

    run(scenario)


def test_a_history_of_few_transactions_in_many_segments_costs_nothing_either(shared_database_url: str) -> None:
    segments = 10

    async def scenario() -> None:
        async with connected(shared_database_url) as (connection,):
            await as_the_cursor(connection)
            for segment in range(segments):  # one transaction each, as after an adoption or a bulk load
                await connection.execute("SELECT setval('outbox.event_ids', $1::bigint)", segment * 1_000_000 + 1)
                await connection.execute(RECORD, HISTORY // segments)
            await connection.execute("ANALYZE outbox.events")
            running = int(await connection.fetchval("SELECT pg_current_xact_id()::text"))
            old = (running, running + 1, (running,))
            await connection.execute(RECORD, 3)
            new, reach = await connection.fetchrow(SNAPSHOT)  # type: ignore[misc]

            found = await connection.fetch(FIRST_PAGE, old, new, 0, reach, 500)
            assert [row["id"] for row in found] == [reach - 2, reach - 1, reach]
            few = FEW_BLOCKS + 4 * segments  # the way down two indexes of each
            assert await blocks_read(connection, FIRST_PAGE, old, new, 0, reach, 500) < few

    run(scenario)
