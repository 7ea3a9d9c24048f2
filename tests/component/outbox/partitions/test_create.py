"""Partitions are made ahead of need, and an id without one is refused, never lost."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from outbox.envelope import new_event_id
from outbox.partitions.create import MONTHS_AHEAD, make_partitions, segments_left
from outbox.segments import SEGMENT_EVENTS, SEGMENTS_AHEAD
from tests.support.probes.database import Asyncpg, connected, run, waits_for_a_lock

INSERT = """
INSERT INTO outbox.events (event_id, type, subject, source, time, data)
VALUES (gen_random_uuid(), 'order.placed', 's', 'urn:test', now(), '') RETURNING id"""
DELIVER = """
INSERT INTO outbox.deliveries (consumer, event_id, subject, state, generation, claims)
VALUES ('audit', $1, 's', 'done', 1, 0) RETURNING tableoid::regclass::text"""
PARTITIONS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1"


async def partitions(connection: Asyncpg, parent: str) -> list[str]:
    return [row["name"].removeprefix("outbox.") for row in await connection.fetch(PARTITIONS, f"outbox.{parent}")]


def id_of(moment: datetime) -> UUID:
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | 1)


def month(ahead: int) -> datetime:
    today = datetime.now(UTC)
    months = today.year * 12 + today.month - 1 + ahead
    return datetime(months // 12, months % 12 + 1, 15, tzinfo=UTC)


async def test_a_migrated_outbox_has_its_segments_and_months_ahead(database_url: str) -> None:
    async with connected(database_url) as (connection,):
        assert await partitions(connection, "events") == [f"events_{n:06d}" for n in range(SEGMENTS_AHEAD + 1)]
        assert await segments_left(connection) == SEGMENTS_AHEAD
        expected = [f"deliveries_{month(ahead):%Y_%m}" for ahead in range(MONTHS_AHEAD + 1)]
        assert set(expected) >= set(await partitions(connection, "deliveries")) - {f"deliveries_{month(-1):%Y_%m}"}
        assert len(await partitions(connection, "deliveries")) >= MONTHS_AHEAD


async def test_making_partitions_again_makes_none(database_url: str) -> None:
    async with connected(database_url) as (connection,):
        today = datetime.now(UTC).date()
        await make_partitions(connection, today)
        assert await make_partitions(connection, today) == 0


async def test_as_segments_fill_new_ones_are_made_ahead(database_url: str) -> None:
    async with connected(database_url) as (connection,):
        today = datetime.now(UTC).date()
        await make_partitions(connection, today)
        await connection.execute("SELECT setval('outbox.event_ids', $1)", 3 * SEGMENT_EVENTS + 5)
        assert await segments_left(connection) == SEGMENTS_AHEAD - 3
        assert await make_partitions(connection, today) == 3
        assert await segments_left(connection) == SEGMENTS_AHEAD
        assert await connection.fetchval(INSERT) == 3 * SEGMENT_EVENTS + 6


async def test_the_last_id_of_a_segment_and_the_first_of_the_next_have_their_places(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,):
        await connection.execute("SELECT setval('outbox.event_ids', $1, false)", SEGMENT_EVENTS - 1)
        for _ in range(2):
            await connection.execute(INSERT)
        rows = await connection.fetch("SELECT id, tableoid::regclass::text AS name FROM outbox.events ORDER BY id")
        assert [tuple(row) for row in rows] == [
            (SEGMENT_EVENTS - 1, "outbox.events_000000"),
            (SEGMENT_EVENTS, "outbox.events_000001"),
        ]


async def test_an_event_beyond_the_last_segment_is_refused_and_fits_once_the_segment_is_made(database_url: str) -> None:
    async with connected(database_url) as (connection,):
        end = (SEGMENTS_AHEAD + 1) * SEGMENT_EVENTS
        await connection.execute("SELECT setval('outbox.event_ids', $1, false)", end)
        assert await segments_left(connection) == 0
        with pytest.raises(asyncpg.CheckViolationError, match='no partition of relation "events" found for row'):
            await connection.execute(INSERT)
        await make_partitions(connection)
        assert await connection.fetchval(INSERT) == end + 1


async def test_two_processes_that_make_partitions_at_once_make_them_once(database_url: str) -> None:
    async with connected(database_url, 3) as (one, two, observer):
        today = datetime.now(UTC).date()
        await make_partitions(one, today)
        await one.execute("SELECT setval('outbox.event_ids', $1)", SEGMENT_EVENTS + 5)
        transaction = one.transaction()
        await transaction.start()
        assert await make_partitions(one, today) == 1
        waiting = asyncio.create_task(make_partitions(two, today))
        await waits_for_a_lock(observer, two.get_server_pid())
        await transaction.commit()
        assert await waiting == 0


async def test_writers_continue_while_a_segment_is_being_attached(database_url: str) -> None:
    async with connected(database_url, 2) as (maker, writer):
        await maker.execute("SELECT setval('outbox.event_ids', $1)", SEGMENT_EVENTS + 5)
        await writer.execute("SET lock_timeout = '5s'")
        transaction = maker.transaction()
        await transaction.start()
        assert await make_partitions(maker) >= 1
        await writer.execute(INSERT)  # the attaching transaction is still open
        await transaction.commit()


async def test_a_delivery_goes_to_the_month_in_its_events_id(shared_database_url: str) -> None:
    async with connected(shared_database_url) as (connection,):
        await make_partitions(connection)
        assert await connection.fetchval(DELIVER, new_event_id()) == f"outbox.deliveries_{month(0):%Y_%m}"
        for ahead in range(1, MONTHS_AHEAD + 1):
            name = await connection.fetchval(DELIVER, id_of(month(ahead)))
            assert name == f"outbox.deliveries_{month(ahead):%Y_%m}"


@pytest.mark.parametrize("moment", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)])
async def test_an_old_events_id_fits_the_first_month(shared_database_url: str, moment: datetime) -> None:
    async with connected(shared_database_url) as (connection,):
        first = (await partitions(connection, "deliveries"))[0]
        assert await connection.fetchval(DELIVER, id_of(moment)) == f"outbox.{first}"


async def test_months_turn_exactly_at_their_first_millisecond_over_the_turn_of_the_year(empty_deliveries: str) -> None:
    async with connected(empty_deliveries) as (connection,):
        await make_partitions(connection, date(2031, 11, 30))
        assert await partitions(connection, "deliveries") == [
            "deliveries_2031_11",
            "deliveries_2031_12",
            "deliveries_2032_01",
            "deliveries_2032_02",
        ]
        new_year = datetime(2032, 1, 1, tzinfo=UTC)
        before = await connection.fetchval(DELIVER, id_of(new_year - timedelta(milliseconds=1)))
        after = await connection.fetchval(DELIVER, id_of(new_year))
        assert (before, after) == ("outbox.deliveries_2031_12", "outbox.deliveries_2032_01")
        with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
            await connection.execute(DELIVER, id_of(datetime(2032, 3, 1, tzinfo=UTC)))
        assert await make_partitions(connection, date(2031, 12, 1)) == 1
        assert await connection.fetchval(DELIVER, id_of(datetime(2032, 3, 1, tzinfo=UTC))) is not None


async def test_months_missed_while_nothing_ran_are_made_too(empty_deliveries: str) -> None:
    async with connected(empty_deliveries) as (connection,):
        await make_partitions(connection, date(2031, 1, 15))
        await make_partitions(connection, date(2031, 9, 15))
        for its_month in range(1, 13):
            moment = datetime(2031, its_month, 20, tzinfo=UTC)
            assert await connection.fetchval(DELIVER, id_of(moment)) == f"outbox.deliveries_{moment:%Y_%m}"


@pytest.fixture
def empty_deliveries(database_url: str) -> str:
    """A database whose inbox has no month yet."""

    async def drop() -> None:
        async with connected(database_url) as (connection,):
            for name in await partitions(connection, "deliveries"):
                await connection.execute(f"DROP TABLE outbox.{name}")

    run(drop)
    return database_url
