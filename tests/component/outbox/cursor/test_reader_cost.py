"""What the cursor's statements cost, counted in pages read by Postgres: a long history must cost nothing."""

import asyncio
import json
from typing import Any, cast

import pytest

from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import FIRST_PAGE, NOTHING_SEEN, PAGE, SNAPSHOT, Reader
from tests.support.probes.database import Asyncpg, connected
from tests.support.probes.outbox_reader import NOW, drain, lead
from tests.support.probes.query_cost import as_the_relay

HISTORY = 50_000
FEW_BLOCKS = 60  # the index's path to the newest rows and a few rows; the history has a thousand times as many
RECORD = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data)
SELECT gen_random_uuid(), 'order.placed', 's' || n, 'urn:test', now(), '{}' FROM generate_series(1, $1) AS n"""


@pytest.fixture
def unused_outbox_url(shared_database_url: str) -> str:
    """The module's database with an outbox that holds neither rows nor index entries of an earlier test.

    An earlier test's rows, which are deleted, had the same ids. An insert removes the index entries that it meets under
    its id, unless a snapshot from before the deletion is open, such as an autovacuum's ANALYZE. A page then reads those
    rows as well: up to 1,005 blocks instead of 12.
    """

    async def truncate() -> None:
        async with connected(shared_database_url) as (connection,):
            await connection.execute("TRUNCATE outbox.events")

    asyncio.run(truncate())
    return shared_database_url


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


class Recorded:
    """A reader's connection that keeps the last page's statement, so that what it cost can be counted."""

    def __init__(self, connection: Asyncpg) -> None:
        self._connection = connection
        self._last: tuple[Any, ...] = ()

    async def fetchrow(self, statement: str) -> Any:
        return await self._connection.fetchrow(statement)

    async def fetch(self, statement: str, *values: Any, timeout: float) -> Any:  # noqa: ASYNC109 - asyncpg's own
        self._last = (statement, *values)
        return await self._connection.fetch(statement, *values, timeout=timeout)

    async def blocks(self) -> int:
        """The blocks that the last page touched."""
        return await blocks_read(self._connection, *self._last)


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        xmin, xmax, running = value
        return f"'{xmin}:{xmax}:{','.join(map(str, running))}'"
    return str(value)


async def test_a_new_event_is_found_without_reading_the_history(unused_outbox_url: str) -> None:
    async with connected(unused_outbox_url) as (connection,):
        await as_the_relay(connection)
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


async def test_a_page_of_a_backlog_without_statistics_reads_that_page_alone(unused_outbox_url: str) -> None:
    async with connected(unused_outbox_url) as (connection,):
        await as_the_relay(connection)
        await connection.execute(RECORD, HISTORY)
        new, reach = await connection.fetchrow(SNAPSHOT)  # type: ignore[misc]
        first = await connection.fetch(FIRST_PAGE, NOTHING_SEEN, new, 0, reach, 500)
        assert [row["id"] for row in first] == list(range(1, 501))
        assert {row[0] for row in first} == {HISTORY}

        assert await blocks_read(connection, PAGE, NOTHING_SEEN, new, 500, HISTORY, 500) < FEW_BLOCKS
        assert await blocks_read(connection, PAGE, NOTHING_SEEN, new, HISTORY - 500, HISTORY, 500) < FEW_BLOCKS


async def test_a_history_of_few_transactions_in_many_segments_costs_nothing_either(unused_outbox_url: str) -> None:
    segments = 10

    async with connected(unused_outbox_url) as (connection,):
        await as_the_relay(connection)
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


async def test_a_late_writers_second_page_does_not_walk_what_was_published_meanwhile(unused_outbox_url: str) -> None:
    page_size = 500

    async with connected(unused_outbox_url, 3) as (own, late, fast):
        await as_the_relay(own)
        recorded = Recorded(own)
        reader = Reader(cast("Asyncpg", recorded), page_size)
        await late.execute("BEGIN")
        await late.execute(RECORD, 2 * page_size + 1)
        await fast.execute(RECORD, HISTORY)
        assert len(await drain(reader)) == HISTORY
        await late.execute("COMMIT")
        await fast.execute(RECORD, 1)

        for first in (1, page_size + 1):
            assert (await given_out(reader))[0] == first
        assert await given_out(reader) == [2 * page_size + 1, 2 * page_size + HISTORY + 2]
        # The window's 1,002 rows are counted once more, on some 20 blocks; between them lie some 1,000.
        assert await recorded.blocks() < 2 * FEW_BLOCKS
        assert await reader.next_page() is None


async def test_a_reader_does_not_read_a_dense_backlog_anew_for_each_page(unused_outbox_url: str) -> None:
    async with connected(unused_outbox_url) as (own,):
        await as_the_relay(own)
        recorded = Recorded(own)
        reader = Reader(cast("Asyncpg", recorded), 500)
        await own.execute(RECORD, HISTORY)
        assert (await given_out(reader))[-1] == 500
        assert await recorded.blocks() > 2 * FEW_BLOCKS
        while (await given_out(reader))[-1] < HISTORY:
            pass
        assert await recorded.blocks() < FEW_BLOCKS


async def given_out(reader: Reader) -> list[int]:
    page = await reader.next_page()
    assert page is not None
    return [row.id for row in page.rows]


_WRITTEN = """
SELECT sum(n_tup_ins) FILTER (WHERE relname ^@ 'events_') AS events,
       sum(n_tup_ins) FILTER (WHERE relname ^@ 'pages_') AS pages,
       sum(n_tup_upd + n_tup_del) AS not_inserts
FROM pg_stat_user_tables WHERE schemaname = 'outbox' AND (relname ^@ 'events_' OR relname ^@ 'pages_')"""

# A backend reports what it wrote before it is gone from here.
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL($1)"""


async def written(*connections: Asyncpg) -> tuple[int, int, int]:
    """Rows inserted into the events and into the cursor's log, and rows of both updated or deleted, by all so far.

    Of other connections those are counted that are closed; it waits until all are.
    """
    while await connections[0].fetchval(_OTHERS, [each.get_server_pid() for each in connections]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    for connection in connections:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    row = await connections[0].fetchrow(_WRITTEN)
    assert row is not None
    return row["events"], row["pages"], row["not_inserts"]


async def test_carrying_events_updates_and_deletes_nothing(database_url: str) -> None:
    pages, page_size = 300, 5

    async with connected(database_url, 2) as (own, writer):
        await lead(own)
        reader = Reader(own, page_size)
        await reader.resume()
        events_before, pages_before, others_before = await written(own, writer)
        for _ in range(pages // 3):
            await writer.execute(RECORD, 3 * page_size)
            for _ in range(3):
                page = await reader.next_page()
                assert page is not None
                await advance(own, 1, [ConfirmedPage(page, NOW, NOW)])
        while True:
            events, log, others = await written(own, writer)
            if (events - events_before, log - pages_before) == (pages * page_size, pages):
                break
        assert others == others_before
