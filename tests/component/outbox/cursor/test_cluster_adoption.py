"""Another cluster's outbox is taken over without a loss: real clusters, real dumps."""

import asyncio
from pathlib import Path

import pytest

from lab.stack.servers.obtain import ServerUrls
from outbox.cursor import cluster_adoption
from outbox.cursor.cluster_adoption import Adoption, RestoreUnfinishedError, WritersActiveError, adopt
from tests.support.fixtures.adoption import identifier, newest, read_on, restored
from tests.support.probes.database import Asyncpg, connected, run, waits_for_a_lock
from tests.support.probes.outbox_reader import confirm, insert, outbox, pages
from tests.support.servers import databases as real
from tests.support.servers.second_cluster import burn, counter, dump, other_cluster, restore

__all__ = ["other_cluster"]

FOREIGN = 4711


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


async def test_in_a_third_cluster_only_pages_since_the_last_adoption_count(home: str) -> None:
    async with outbox(home, writers=2) as (reader, (slow, connection)):
        passed = await insert(connection)
        await slow.execute("BEGIN")
        late = await insert(slow)
        last = await insert(connection)
        await confirm(reader, await pages(reader))
        await slow.execute("COMMIT")
        await pretend_foreign(connection)
        first = await adopt(connection)
        assert first is not None
        assert (first.floor_id, first.events) == (passed, 2)
        # The first cluster was far ahead of the second: its cursor seems to have seen events that no relay has read.
        await connection.execute("UPDATE outbox.pages SET new_snapshot = '999999999:999999999:'")
        await pretend_foreign(connection)
        second = await adopt(connection)
        assert second is not None
        assert (second.floor_id, second.events) == (passed, 2)
        assert await read_on(connection) == [late, last]


def test_another_database_of_the_same_cluster_goes_on_in_the_middle_of_the_window_and_adopts_nothing(
    home: str, servers: ServerUrls, tmp_path: Path
) -> None:
    async def at_home() -> list[int]:
        async with outbox(home, writers=2, page_size=3) as (reader, (slow, writer)):
            await slow.execute("BEGIN")
            late = await insert(slow)
            ids = [await insert(writer) for _ in range(10)]
            await confirm(reader, (await pages(reader))[:2])
            await slow.execute("COMMIT")
            return [late, *ids]

    async def there() -> None:
        async with connected(url) as (connection,):
            assert await adopt(connection) is None
            new = await insert(connection)
            assert await read_on(connection) == [*ids[6:], late, new]

    late, *ids = asyncio.run(at_home())
    with restored(home, servers.database_url, tmp_path) as url:
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


async def pretend_foreign(connection: Asyncpg) -> None:
    """As if the newest adoption had been in another cluster."""
    await connection.execute("UPDATE outbox.adoptions SET system_identifier = $1", FOREIGN)


async def test_a_writer_that_does_not_end_is_named_and_those_queued_behind_it_are_not(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough to be seen waiting; the test waits it out.
    monkeypatch.setattr(cluster_adoption, "_LIMITS", "SET LOCAL lock_timeout = '2s'")

    async with connected(home, 4) as (leader, writer, queued, observer):
        await pretend_foreign(leader)
        await writer.execute("BEGIN")
        kept = await insert(writer)
        trying = asyncio.create_task(adopt(leader))
        await waits_for_a_lock(observer, leader.get_server_pid())
        waiting = asyncio.create_task(insert(queued))
        with pytest.raises(WritersActiveError, match=f"pid {writer.get_server_pid()}: INSERT INTO outbox.events") as e:
            await trying
        assert f"pid {queued.get_server_pid()}" not in str(e.value)
        assert (await newest(leader))[0] == FOREIGN

        behind = await waiting
        await writer.execute("COMMIT")
        adopted = await adopt(leader)
        assert adopted is not None
        assert adopted.events == 2
        assert await read_on(leader) == [kept, behind]


async def test_two_relays_that_find_another_cluster_at_once_adopt_it_once(home: str) -> None:
    async with connected(home, 4) as (one, two, writer, observer):
        await pretend_foreign(one)
        await writer.execute("BEGIN")
        await insert(writer)
        both = [asyncio.create_task(adopt(relay)) for relay in (one, two)]
        for relay in (one, two):
            await waits_for_a_lock(observer, relay.get_server_pid())
        await writer.execute("COMMIT")
        adopted = await asyncio.gather(*both)
        assert sorted(found is None for found in adopted) == [False, True]
        assert await observer.fetchval("SELECT count(*) FROM outbox.adoptions") == 2


async def test_tables_without_any_record_of_a_cluster_are_adopted_from_the_beginning(home: str) -> None:
    async with connected(home) as (connection,):
        await connection.execute("DELETE FROM outbox.adoptions")
        ids = [await insert(connection) for _ in range(3)]
        here = await identifier(connection)
        assert await adopt(connection) == Adoption(None, here, 0, 3)
        assert await read_on(connection) == ids


async def test_an_empty_outbox_is_adopted_and_its_first_event_read(home: str) -> None:
    async with connected(home) as (connection,):
        await pretend_foreign(connection)
        assert await adopt(connection) == Adoption(FOREIGN, await identifier(connection), 0, 0)
        assert await read_on(connection) == []
        first = await insert(connection)
        assert await read_on(connection) == [first]


async def test_sequences_that_were_not_copied_are_set_above_what_is_there(home: str) -> None:
    async with outbox(home, page_size=2) as (reader, (connection,)):
        ids = [await insert(connection) for _ in range(5)]
        await confirm(reader, await pages(reader))
        await pretend_foreign(connection)
        await connection.execute(
            "ALTER SEQUENCE outbox.event_ids RESTART; ALTER SEQUENCE outbox.page_ids RESTART; "
            "ALTER TABLE outbox.adoptions ALTER COLUMN adoption RESTART WITH 1; "
            "UPDATE outbox.adoptions SET adoption = DEFAULT; "
            "ALTER TABLE outbox.adoptions ALTER COLUMN adoption RESTART WITH 1; DELETE FROM outbox.events"
        )
        assert await adopt(connection) is not None
        following = await insert(connection)
        assert following == ids[-1] + 1, "an id at or below the floor would never be read"
        assert await read_on(connection) == [following]
        assert await connection.fetchval("SELECT max(page) FROM outbox.pages") == 4
