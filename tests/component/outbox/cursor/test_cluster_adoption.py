"""Another cluster's outbox is taken over without a loss: real clusters, real dumps."""

import asyncio
from pathlib import Path

import pytest

from lab.stack.servers.obtain import ServerUrls
from outbox.cursor import cluster_adoption
from outbox.cursor.cluster_adoption import Adoption, WritersActiveError, adopt
from tests.support.fixtures.adoption import identifier, newest, read_on, restored
from tests.support.probes.database import Asyncpg, connected, run, waits_for_a_lock
from tests.support.probes.outbox_reader import confirm, insert, outbox, pages

FOREIGN = 4711


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
