"""A database restored in a second real cluster is adopted, and no event is skipped."""

import asyncio
from pathlib import Path

import pytest

from outbox.cursor.cluster_adoption import Adoption, RestoreUnfinishedError, adopt
from tests.support.fixtures.adoption import identifier, newest, read_on, restored
from tests.support.probes.database import connected, run
from tests.support.probes.outbox_reader import confirm, insert, outbox, pages
from tests.support.servers import databases as real
from tests.support.servers.second_cluster import burn, counter, dump, restore


async def run_ahead(home: str, server_url: str) -> None:
    """Let home's transaction ids lie well above those of the server that it will be restored to."""
    async with connected(home) as (here,), connected(server_url) as (there,):
        await burn(here, await counter(there) + 500)


def test_what_was_not_confirmed_is_read_in_the_other_cluster_from_the_middle_of_its_window_on(
    home: str, other_cluster: str, tmp_path: Path
) -> None:
    async def at_home() -> list[int]:
        await run_ahead(home, other_cluster)
        async with outbox(home, page_size=3) as (reader, (writer,)):
            ids = [await insert(writer) for _ in range(10)]
            await confirm(reader, (await pages(reader))[:2])
            return ids

    async def there() -> None:
        async with connected(url) as (connection,), connected(home) as (old,):
            adopted = await adopt(connection)
            assert adopted == Adoption(await identifier(old), await identifier(connection), ids[5], 4)
            assert adopted.old_identifier != adopted.new_identifier
            assert await newest(connection) == (adopted.new_identifier, ids[5], 2)
            assert await read_on(connection, page_size=3) == ids[6:]
            assert await adopt(connection) is None
            late = await insert(connection)
            assert late > ids[-1]
            assert await read_on(connection) == [late]

    ids = asyncio.run(at_home())
    with restored(home, other_cluster, tmp_path) as url:
        run(there)


def test_an_event_that_the_cursor_had_not_seen_lowers_the_floor_below_it(
    home: str, other_cluster: str, tmp_path: Path
) -> None:
    async def at_home() -> list[int]:
        await run_ahead(home, other_cluster)
        async with outbox(home, writers=3) as (reader, (slow, undecided, fast)):
            first = await insert(fast)
            await slow.execute("BEGIN")
            late = await insert(slow)
            await undecided.execute("BEGIN")
            await insert(undecided)
            last = await insert(fast)
            await confirm(reader, await pages(reader))
            await slow.execute("COMMIT")
            return [first, late, last]

    async def there() -> None:
        first, late, last = ids
        async with connected(url) as (connection,):
            adopted = await adopt(connection)
            assert adopted is not None
            assert (adopted.floor_id, adopted.events) == (first, 2)
            assert await read_on(connection) == [late, last]  # the last one for the second time

    ids = asyncio.run(at_home())
    with restored(home, other_cluster, tmp_path) as url:
        run(there)


def test_what_writers_recorded_before_the_adoption_is_read_and_the_past_never_again_when_the_counter_passes_it(
    home: str, other_cluster: str, tmp_path: Path
) -> None:
    async def at_home() -> list[int]:
        await run_ahead(home, other_cluster)
        async with outbox(home) as (reader, (writer,)):
            ids = [await insert(writer) for _ in range(5)]
            await confirm(reader, await pages(reader))
            return ids

    async def there() -> None:
        async with connected(url, 2) as (connection, writer):
            early = await insert(writer)
            assert await writer.fetchval(
                "SELECT bool_and(pg_visible_in_snapshot(xid, new_snapshot)) FROM outbox.events, outbox.pages "
                "WHERE id = $1",
                early,
            ), "its low transaction id must look as if the old cursor had passed it"
            adopted = await adopt(connection)
            assert adopted is not None
            assert (adopted.floor_id, adopted.events) == (past[-1], 1)
            assert await read_on(connection) == [early]

            trap = "SELECT {}(xid::text::bigint) FROM outbox.events WHERE id <= $1"
            lowest = await writer.fetchval(trap.format("min"), past[-1])
            highest = await writer.fetchval(trap.format("max"), past[-1])
            assert await counter(writer) <= lowest
            before = await insert(writer)
            assert await read_on(connection) == [before]
            await burn(writer, highest + 1)
            after = await insert(writer)
            assert await read_on(connection) == [after]
            assert await read_on(connection) == []

    past = asyncio.run(at_home())
    with restored(home, other_cluster, tmp_path) as url:
        run(there)


def test_a_restore_that_is_not_complete_is_not_adopted(home: str, other_cluster: str, tmp_path: Path) -> None:
    async def nothing_is_adopted() -> None:
        async with connected(url) as (connection,):
            with pytest.raises(RestoreUnfinishedError, match="primary keys"):
                await adopt(connection)

    async def all_of_it_is() -> None:
        async with connected(url) as (connection,):
            assert await adopt(connection) is not None
            assert len(await read_on(connection)) == 3

    async def at_home() -> None:
        async with connected(home) as (writer,):
            for _ in range(3):
                await insert(writer)

    run(at_home)
    archive = dump(home, tmp_path / "dump")
    with real.database(other_cluster) as url:
        for section in ("pre-data", "data"):
            restore(archive, url, section)
            run(nothing_is_adopted)
        restore(archive, url, "post-data")
        run(all_of_it_is)
