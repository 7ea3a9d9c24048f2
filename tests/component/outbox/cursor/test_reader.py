"""The snapshot cursor on a real Postgres: each committed event once, whatever order transactions commit in."""

import asyncio
import random

import pytest

from outbox.cursor.reader import FencedError, Reader
from tests.support.probes.database import Asyncpg, connected
from tests.support.probes.outbox_reader import NOW, confirm, drain, insert, lead, outbox, pages


async def test_an_empty_outbox_has_no_page_and_nothing_new_has_none_again(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as (reader, (writer,)):
        assert await reader.next_page() is None
        await insert(writer)
        assert len(await drain(reader)) == 1
        assert await reader.next_page() is None


async def test_a_lower_id_that_commits_later_is_delivered(shared_database_url: str) -> None:
    async with outbox(shared_database_url, writers=2) as (reader, (slow, fast)):
        await slow.execute("BEGIN")
        low = await insert(slow)
        high = await insert(fast)
        assert low < high
        assert await drain(reader) == [high]
        assert await drain(reader) == []
        await slow.execute("COMMIT")
        assert await drain(reader) == [low]
        assert await drain(reader) == []


async def test_a_transaction_left_open_holds_back_its_own_rows_and_no_others(shared_database_url: str) -> None:
    async with outbox(shared_database_url, writers=2) as (reader, (slow, fast)):
        await slow.execute("BEGIN")
        held = [await insert(slow)]
        for _ in range(5):
            passing = await insert(fast)
            assert await drain(reader) == [passing]
            held.append(await insert(slow))
        await slow.execute("COMMIT")
        assert await drain(reader) == held


async def test_a_transaction_that_began_before_the_reader_did_is_not_missed(shared_database_url: str) -> None:
    async with connected(shared_database_url, 1) as (slow,):
        await slow.execute("BEGIN")
        early = await insert(slow)
        async with outbox(shared_database_url) as (reader, (fast,)):
            late = await insert(fast)
            assert await drain(reader) == [late]
            await slow.execute("COMMIT")
            assert await drain(reader) == [early]


async def test_rolled_back_rows_never_appear(shared_database_url: str) -> None:
    async with outbox(shared_database_url, writers=2) as (reader, (undecided, fast)):
        await undecided.execute("BEGIN")
        await insert(undecided)
        kept = await insert(fast)
        assert await drain(reader) == [kept]
        await undecided.execute("ROLLBACK")
        after = await insert(fast)
        assert await drain(reader) == [after]


async def test_a_savepoint_rolled_back_takes_its_rows_only(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as (reader, (writer,)):
        await writer.execute("BEGIN")
        before = await insert(writer)
        await writer.execute("SAVEPOINT one")
        await insert(writer)
        await writer.execute("ROLLBACK TO one")
        await writer.execute("SAVEPOINT two")
        inside = await insert(writer)
        await writer.execute("RELEASE two")
        assert await drain(reader) == []
        await writer.execute("COMMIT")
        assert await drain(reader) == [before, inside]


async def test_a_window_is_read_in_pages_by_id(shared_database_url: str) -> None:
    async with outbox(shared_database_url, page_size=4) as (reader, (writer,)):
        ids = [await insert(writer) for _ in range(10)]
        read = await pages(reader)
        assert [[row.id for row in page.rows] for page in read] == [ids[:4], ids[4:8], ids[8:]]
        assert len({(page.window.old, page.window.new) for page in read}) == 1


async def test_what_commits_while_a_window_is_read_comes_after_it_even_with_an_id_inside(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url, writers=2, page_size=2) as (reader, (slow, fast)):
        first = await insert(fast)
        await slow.execute("BEGIN")
        inside = await insert(slow)
        rest = [await insert(fast) for _ in range(3)]
        opening = await reader.next_page()
        assert opening is not None
        assert [row.id for row in opening.rows] == [first, rest[0]]
        await slow.execute("COMMIT")
        assert await drain(reader) == [*rest[1:], inside]


async def test_a_row_comes_back_with_everything_that_was_recorded(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as (reader, (writer,)):
        await insert(writer, "order-7", '{"größe":"ß"}')
        (page,) = await pages(reader)
        (row,) = page.rows
        stored = await writer.fetchrow("SELECT * FROM outbox.events")
        assert stored is not None
        assert {name: getattr(row, name) for name in row._fields} == {name: stored[name] for name in row._fields}
        assert row.as_event().data == '{"größe":"ß"}'.encode()


async def test_after_a_crash_in_mid_window_the_next_reader_goes_on_after_the_newest_confirmed_page(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url, writers=2, page_size=3) as (reader, (writer, own)):
        ids = [await insert(writer) for _ in range(10)]
        read = await pages(reader)
        late = await insert(writer)
        await confirm(reader, read[:2])

        successor = Reader(own, page_size=3)
        await successor.resume()
        assert await drain(successor) == [*ids[6:], late]


async def test_a_crash_between_windows_delivers_nothing_confirmed_again(shared_database_url: str) -> None:
    async with outbox(shared_database_url, writers=3) as (reader, (slow, writer, own)):
        await slow.execute("BEGIN")
        low = await insert(slow)
        await insert(writer)
        await confirm(reader, await pages(reader))

        successor = Reader(own, page_size=3)
        await successor.resume()
        assert await drain(successor) == []
        await slow.execute("COMMIT")
        assert await drain(successor) == [low]


async def test_a_reader_that_resumes_with_nothing_confirmed_starts_from_the_beginning(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as (reader, (writer,)):
        ids = [await insert(writer) for _ in range(3)]
        assert await drain(reader) == ids
        await reader.resume()
        assert await drain(reader) == ids


async def test_each_confirmed_page_is_one_row_of_the_log(shared_database_url: str) -> None:
    async with outbox(shared_database_url, page_size=2) as (reader, (writer,)):
        ids = [await insert(writer) for _ in range(3)]
        await confirm(reader, await pages(reader))
        log = await writer.fetch("SELECT * FROM outbox.pages ORDER BY page")
        assert [(row["first_id"], row["last_id"], row["events"], row["epoch"]) for row in log] == [
            (ids[0], ids[1], 2, 1),
            (ids[2], ids[2], 1, 1),
        ]
        assert {row["sent_at"] for row in log} == {row["confirmed_at"] for row in log} == {NOW}


@pytest.mark.parametrize("epoch", [1, 3])
async def test_a_writer_with_another_epoch_than_the_one_in_force_moves_nothing(
    shared_database_url: str, epoch: int
) -> None:
    async with outbox(shared_database_url) as (reader, (writer,)):
        await insert(writer)
        read = await pages(reader)
        await lead(writer, epoch=2)
        with pytest.raises(FencedError, match=f"^epoch {epoch} is over$"):
            await confirm(reader, read, epoch)
        assert await writer.fetchval("SELECT count(*) FROM outbox.pages") == 0
        await confirm(reader, read, epoch=2)
        assert await writer.fetchval("SELECT count(*) FROM outbox.pages") == 1


async def write_at_random(
    connection: Asyncpg, rng: random.Random, transactions: int, kept: list[tuple[str, int]]
) -> None:
    """Random transactions: several rows and savepoints, some rolled back. `kept` gets (subject, id) as committed.

    A transaction locks its subject first, as the product locks the order's row, and holds it until it has ended.
    """
    for _ in range(transactions):
        key = rng.randrange(5)
        mine = []
        await connection.execute("BEGIN")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", key)
        for _ in range(rng.randint(1, 4)):
            savepoint = rng.random() < 0.3
            if savepoint:
                await connection.execute("SAVEPOINT s")
            row_id = await insert(connection, f"subject-{key}")
            if savepoint and rng.random() < 0.5:
                await connection.execute("ROLLBACK TO s")
            else:
                mine.append((f"subject-{key}", row_id))
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.003]))  # spreads the interleavings; nothing waits for it
        if rng.random() < 0.2:
            await connection.execute("ROLLBACK")
        else:
            await connection.execute("COMMIT")
            kept += mine


@pytest.mark.parametrize("seed", range(6))
async def test_however_writers_interleave_each_committed_event_is_read_once_and_in_order_per_subject(
    shared_database_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    kept: list[tuple[str, int]] = []
    read: list[tuple[str, int]] = []

    async def take(reader: Reader) -> None:
        page = await reader.next_page()
        if page is None:
            return
        if rng.random() < 0.2:  # the relay dies with this page unconfirmed, and starts again
            await reader.resume()
        else:
            await confirm(reader, [page])
            read.extend((row.subject, row.id) for row in page.rows)

    async with outbox(shared_database_url, writers=6, page_size=rng.randint(1, 7)) as (reader, writers):
        writing = asyncio.gather(
            *(write_at_random(writer, random.Random(f"{seed}/{n}"), 12, kept) for n, writer in enumerate(writers))
        )
        while not writing.done():
            await take(reader)
            await asyncio.sleep(0)
        await writing
        await reader.resume()
        for page in await pages(reader):
            read.extend((row.subject, row.id) for row in page.rows)
    assert len(kept) > 50
    assert sorted(read) == sorted(kept)
    for subject in {subject for subject, _ in kept}:
        # Under the subject's lock ids are taken in the order of commits: sorted is the order of commits.
        ids = [row_id for its, row_id in read if its == subject]
        assert ids == sorted(ids)
