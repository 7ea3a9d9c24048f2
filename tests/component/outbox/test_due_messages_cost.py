"""The cost of moving due messages, in blocks: neither scheduled nor moved messages may add to it."""

import pytest

from outbox.due_messages import MOVE_DUE, DuePosition, move_due, start
from tests.support.probes.database import Asyncpg, connected
from tests.support.probes.query_cost import as_the_relay, blocks_touched

WAITING = 100_000  # a million would take ten seconds to store, and costs one more level of the index
MOVED = 20_000
FEW_BLOCKS = 60  # of an index's path and a handful of rows; what waits or was moved fills many times as many

FILL = """
INSERT INTO outbox.scheduled (due_at, event_id, type, subject, source, time, destination, data)
SELECT now() + CAST($2 AS interval) + n * interval '1 ms', gen_random_uuid(), 'order.placed', 's' || n, 'urn:test',
       now(), 'sap', '{}'
FROM generate_series(1, $1::bigint) AS n"""
NO_BOUND = (None, None)


async def fill(connection: Asyncpg, rows: int, due: str) -> None:
    await connection.execute(FILL.replace("CAST($2 AS interval)", f"interval '{due}'"), rows)


async def test_what_waits_costs_the_due_ones_nothing_with_statistics_and_without(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (mover,):
        await as_the_relay(mover)
        await fill(mover, WAITING, "1 day")
        for _ in ("without", "with"):
            await fill(mover, 5, "-1 minute")
            assert await blocks_touched(mover, MOVE_DUE, *NO_BOUND, *NO_BOUND, 1000) < FEW_BLOCKS
            assert await mover.fetchval("SELECT count(*) FROM outbox.scheduled") == WAITING
            assert await blocks_touched(mover, MOVE_DUE, *NO_BOUND, *NO_BOUND, 1000) < FEW_BLOCKS
            await mover.execute("ANALYZE outbox.scheduled")
        whole = await blocks_touched(mover, "SELECT count(*) FROM outbox.scheduled WHERE data <> ''")
        assert whole > 25 * FEW_BLOCKS


@pytest.mark.parametrize("analyzed", [False, True], ids=["without statistics", "with those of an empty table"])
async def test_rows_that_were_moved_under_an_open_snapshot_cost_the_next_turn_nothing(
    database_url: str, analyzed: bool
) -> None:
    async with connected(database_url, 3) as (mover, holder, vacuum):
        await as_the_relay(mover)
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetchval("SELECT count(*) FROM outbox.scheduled")
            await fill(mover, MOVED, "-1 hour")
            place = await start(mover)
            while (moved := await move_due(mover, 1000, place)).last is not None:
                place = moved.last
            if analyzed:
                await vacuum.execute("VACUUM ANALYZE outbox.scheduled")
            await fill(mover, 5, "-1 minute")

            due = await blocks_touched(mover, MOVE_DUE, place.due_at, place.id, *NO_BOUND, 1000)
            late = await blocks_touched(mover, MOVE_DUE, *NO_BOUND, place.due_at, place.id, 1000)
            again = DuePosition(await mover.fetchval("SELECT now()"), 0)
            new = await blocks_touched(mover, MOVE_DUE, again.due_at, again.id, *NO_BOUND, 1000)

        assert await mover.fetchval("SELECT count(*) FROM outbox.scheduled") == 0
        assert max(due, new) < FEW_BLOCKS
        assert late > 5 * FEW_BLOCKS  # the dead entries are there, and reading back passes them
