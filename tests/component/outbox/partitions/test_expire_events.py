"""Segments are dropped when no one of their rows can be needed any more, and never before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import ONE_PLAN, Reader
from outbox.partitions.create import make_partitions
from outbox.partitions.expire_events import expire_segment
from outbox.partitions.expiry import ExpiryLimits, ExpiryOutcome, ExpiryResult
from outbox.segments import EVENTS, PAGES, SEGMENT_PAGES
from tests.support.probes.database import Asyncpg, connected, waits_for_a_lock

SIZE = 10
SEGMENTS = 8
INSERT = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data, recorded_at)
VALUES (gen_random_uuid(), 'order.placed', 's', 'urn:test', now(), '', clock_timestamp() - $1::interval) RETURNING id"""
INTO_THE_FIRST = INSERT.replace("outbox.events (", "outbox.events_000000 (id, ").replace("VALUES (", "VALUES (1, ")
LEAD = "INSERT INTO outbox.leases (name, epoch, holder, expires_at) VALUES ('relay', 1, 'test', 'infinity')"
ADOPT = """
INSERT INTO outbox.adoptions (system_identifier, floor_id, after_page) SELECT 1, $1, max(page) FROM outbox.pages"""
TABLES = "SELECT relname FROM pg_class WHERE relname ~ ('^' || $1 || '_\\d+$') AND relkind = 'r' ORDER BY 1"
PENDING = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'outbox.events_000000'::regclass"
OLD = timedelta(days=2)
RETENTION = timedelta(days=1)
PATIENCE = 0.15


@dataclass
class Outbox:
    """An outbox of segments of ten ids: its relay's reader, and connections."""

    url: str
    reader: Reader
    dropper: Asyncpg
    writer: Asyncpg
    other: Asyncpg

    async def write(self, count: int, age: timedelta = OLD) -> list[int]:
        return [await self.writer.fetchval(INSERT, age) for _ in range(count)]

    async def carry(self) -> list[int]:
        """Read and confirm everything that is committed; the ids."""
        carried = []
        while (page := await self.reader.next_page()) is not None:
            await advance(self.writer, 1, [ConfirmedPage(page, datetime.now(UTC), datetime.now(UTC))])
            carried += [row.id for row in page.rows]
        return carried

    async def carry_new(self, count: int) -> int:
        """Write some events and carry them; the number that were read."""
        written = await self.write(count)
        return len(set(written) & set(await self.carry()))

    async def turn(self) -> ExpiryResult | None:
        return await expire_segment(self.dropper, RETENTION, limits=ExpiryLimits(lock_seconds=PATIENCE))

    async def tables(self, parent: str = "events") -> list[str]:
        return [row["relname"] for row in await self.other.fetch(TABLES, parent)]


@asynccontextmanager
async def outbox(url: str) -> AsyncIterator[Outbox]:
    async with connected(url, 3) as (dropper, writer, other):
        for row in await other.fetch(TABLES, "events"):
            await other.execute(f"DROP TABLE outbox.{row['relname']}")
        for number in range(SEGMENTS):
            bounds = f"FROM ({number * SIZE}) TO ({(number + 1) * SIZE})"
            await other.execute(
                f"CREATE TABLE outbox.events_{number:06d} PARTITION OF outbox.events FOR VALUES {bounds}"
            )
        await other.execute(LEAD)
        cursor = await asyncpg.connect(url, server_settings=ONE_PLAN)
        try:
            reader = Reader(cursor, 100)
            await reader.resume()
            yield Outbox(url, reader, dropper, writer, other)
        finally:
            await cursor.close()


async def test_a_confirmed_segment_past_retention_is_dropped_and_the_next_one_too_at_the_next_turn(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(25)
        await box.carry()
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)
        assert await box.turn() is None  # the third has ids to give out
        assert await box.tables() == [f"events_{number:06d}" for number in range(2, SEGMENTS)]


async def test_a_segment_stays_while_its_youngest_event_is_within_retention(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(8)
        await box.write(1, age=timedelta(hours=23))
        await box.write(6)
        await box.carry()
        assert await box.turn() is None
        await box.other.execute("UPDATE outbox.events SET recorded_at = recorded_at - interval '2 hours'")
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)


@pytest.mark.parametrize("confirmed", [0, 4, 8])
async def test_a_segment_stays_until_its_last_event_is_confirmed(shared_database_url: str, confirmed: int) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(confirmed)
        await box.carry()
        await box.write(15 - confirmed)
        assert await box.turn() is None
        await box.carry()
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)


async def test_in_mid_window_only_what_is_up_to_the_confirmed_page_counts_as_confirmed(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(35)
        box.reader._page_size = 12
        (first, second) = [await box.reader.next_page() for _ in range(2)]
        assert first is not None
        assert second is not None
        assert await box.turn() is None
        await advance(box.writer, 1, [ConfirmedPage(first, datetime.now(UTC), datetime.now(UTC))])
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await box.turn() is None  # the cursor's
        await box.other.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000001")
        assert await box.turn() is None
        await box.other.execute(
            "ALTER TABLE outbox.events ATTACH PARTITION outbox.events_000001 FOR VALUES FROM (10) TO (20)"
        )
        await advance(box.writer, 1, [ConfirmedPage(second, datetime.now(UTC), datetime.now(UTC))])
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)
        assert await box.turn() is None
        assert await box.carry() == list(range(25, 36))


async def test_the_segment_of_the_cursor_stays_even_when_all_of_it_is_confirmed(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(10)
        assert (await box.carry())[-1] == 10  # in the second segment
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        await box.other.fetchval("SELECT setval('outbox.event_ids', 25)")
        assert await box.turn() is None
        await box.write(1)
        await box.carry()
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)


async def test_the_last_segment_stays_because_it_says_where_the_next_one_begins(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as box:
        await box.other.fetchval("SELECT setval('outbox.event_ids', $1)", SEGMENTS * SIZE + 5)
        for number in range(SEGMENTS - 1):
            assert await box.turn() == ExpiryResult(f"events_{number:06d}", ExpiryOutcome.DROPPED)
        assert await box.turn() is None
        assert await box.tables() == [f"events_{SEGMENTS - 1:06d}"]


async def test_events_of_a_writer_that_is_still_open_are_not_lost_with_their_segment(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as box:
        await box.other.execute("BEGIN")
        late = await box.other.fetchval(INSERT, OLD)
        await box.write(25)
        await box.carry()
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.POSTPONED)
        await box.other.execute("COMMIT")
        assert await box.turn() is None
        assert await box.carry() == [late]
        await box.write(1)  # the cursor leaves the late event's segment
        await box.carry()
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)


async def test_a_writer_that_has_an_id_and_has_not_come_to_its_segment_yet_is_waited_for(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url) as box, connected(shared_database_url, 1) as (slow,):
        # It takes its id, then waits for a lock before the event is put in its place.
        await box.other.execute("BEGIN; SELECT pg_advisory_xact_lock(7)")
        wait = "CASE pg_advisory_xact_lock(7)::text WHEN '' THEN gen_random_uuid() END"
        writing = asyncio.create_task(slow.execute(INSERT.replace("gen_random_uuid()", wait), OLD))
        await waits_for_a_lock(box.writer, slow.get_server_pid())
        await box.write(25)
        await box.carry()
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.POSTPONED)
        assert not await box.writer.fetchval(PENDING)  # or the event would be in a segment that no reader sees
        await box.other.execute("COMMIT")
        await writing
        assert await box.carry() == [1]


async def test_an_open_reader_postpones_the_end_and_an_interrupted_detaching_is_finished_later(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(25)
        await box.carry()
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert await box.other.fetchval("SELECT count(*) FROM outbox.events") == 25
        for _ in range(2):
            assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.POSTPONED)
            assert await box.writer.fetchval(PENDING)
            assert await box.other.fetchval("SELECT count(*) FROM outbox.events") == 25
        await box.other.execute("COMMIT")
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)


async def test_writers_the_relay_and_the_making_of_segments_continue_while_a_segment_is_half_detached(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url) as box, connected(shared_database_url) as (maker,):
        await box.write(5)
        await box.carry()  # its statements have their plans, with this segment in them
        await box.write(20)
        await box.carry()
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.events")
        dropping = asyncio.create_task(expire_segment(box.dropper, RETENTION, limits=ExpiryLimits(lock_seconds=30)))
        await waits_for_a_lock(box.writer, box.dropper.get_server_pid())
        for connection in (box.writer, maker):
            await connection.execute("SET lock_timeout = '5s'")
        assert await box.carry_new(5) == 5
        await maker.execute("CREATE TABLE outbox.events_000099 (LIKE outbox.events INCLUDING ALL)")
        await maker.execute(
            "ALTER TABLE outbox.events ATTACH PARTITION outbox.events_000099 FOR VALUES FROM (990) TO (999)"
        )
        assert not dropping.done()
        await box.other.execute("COMMIT")
        assert await dropping == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await box.carry_new(5) == 5


async def test_an_expiry_that_died_between_detaching_and_dropping_is_finished_later(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as box, connected(shared_database_url) as (observer,):
        await box.write(25)
        await box.carry()
        # With only this lock on it, the table can be detached and cannot be dropped.
        await box.other.execute("BEGIN; LOCK TABLE outbox.events_000001 IN ACCESS SHARE MODE")
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.POSTPONED)
        await box.other.execute("COMMIT")
        await observer.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000001 FINALIZE")
        assert "events_000001" in await box.tables()
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)
        assert "events_000001" not in await box.tables()


async def test_a_detached_segment_with_an_event_that_is_not_confirmed_is_attached_again(
    shared_database_url: str,
) -> None:
    async with outbox(shared_database_url) as box:
        await box.other.fetchval("SELECT setval('outbox.event_ids', 1)")
        await box.write(24)
        await box.carry()
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.events")
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.POSTPONED)
        await box.other.execute("COMMIT")
        # Nothing of ours writes into a segment by its name.
        await box.writer.execute(INTO_THE_FIRST, OLD)
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.ATTACHED_AGAIN)
        assert await box.carry() == [1]


async def test_a_table_that_an_operator_detached_is_left_alone(shared_database_url: str) -> None:
    async with outbox(shared_database_url) as box:
        await box.write(35)
        await box.carry()
        await box.other.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000000")
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.events")
        await box.writer.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await box.writer.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000002 CONCURRENTLY")
        await box.other.execute("COMMIT")
        assert await box.turn() == ExpiryResult("events_000002", ExpiryOutcome.FINALIZED)
        assert (await box.tables())[:2] == ["events_000000", "events_000002"]
        assert await box.turn() is None


async def test_what_an_adoption_declared_confirmed_counts_as_confirmed_and_pages_before_it_do_not(
    database_url: str,
) -> None:
    async with outbox(database_url) as box:
        await box.write(35)
        await box.carry()
        await box.other.execute(ADOPT, 15)
        assert await box.turn() == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await box.turn() is None
        await box.other.execute(ADOPT, 19)
        assert await box.turn() == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)
        assert await box.turn() is None


async def test_the_cursors_log_is_dropped_behind_too_but_never_its_newest_page(database_url: str) -> None:
    async with outbox(database_url) as box:

        async def turn(retention: timedelta) -> ExpiryResult | None:
            return await expire_segment(box.dropper, retention, PAGES, ExpiryLimits(lock_seconds=PATIENCE))

        async def page() -> None:
            await box.write(1)
            await box.carry()

        await page()
        await box.other.fetchval("SELECT setval('outbox.page_ids', $1)", SEGMENT_PAGES + 5)
        assert await turn(timedelta(0)) is None
        await page()
        assert await turn(RETENTION) is None
        assert await turn(timedelta(0)) == ExpiryResult("pages_000000", ExpiryOutcome.DROPPED)
        assert await turn(timedelta(0)) is None
        await box.reader.resume()
        assert await box.carry() == []


async def test_segments_are_made_ahead_of_what_was_dropped(database_url: str) -> None:
    async with connected(database_url, 2) as (dropper, writer):
        await writer.fetchval("SELECT setval('outbox.event_ids', $1)", 2 * EVENTS.size)
        assert await expire_segment(dropper, RETENTION) == ExpiryResult("events_000000", ExpiryOutcome.DROPPED)
        assert await make_partitions(dropper) == 2
        assert await expire_segment(dropper, RETENTION) == ExpiryResult("events_000001", ExpiryOutcome.DROPPED)
        assert await make_partitions(dropper) == 0
