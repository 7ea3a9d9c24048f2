"""A plan locks each segment that it may read. A timeline opens those of its order's lifetime, placing only one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders import repository
from orders.audit.queries import Window, read_orders
from orders.model import Order
from orders.service import Placed, place
from orders.tracking.load import load_timeline, repeatable_read
from orders.tracking.timeline import EntryKind
from outbox.cursor.id_ranges import first_id_since
from outbox.partitions.create import make_partitions
from outbox.record import check_table
from outbox.segments import SEGMENT_EVENTS, SEGMENT_PAGES
from tests.support.builders.orders import sample_order
from tests.support.probes.database import connected, engine_of

KEPT, PAGES_KEPT = 50, 7  # behind the segments in use
# Postgres compares with a plan for any values at a statement's sixth execution.
TIMES = 8

NOW = f"""
SELECT setval('outbox.event_ids', {KEPT * SEGMENT_EVENTS}), setval('outbox.page_ids', {PAGES_KEPT * SEGMENT_PAGES})"""
# One event and one page, a day older in each segment back.
HISTORY = f"""
INSERT INTO outbox.events (id, event_id, type, subject, source, time, data, recorded_at)
SELECT n * {SEGMENT_EVENTS}::bigint, gen_random_uuid(), 'order.placed', 'other', 'urn:test', now(), '',
       now() - make_interval(days => {KEPT} - n)
FROM generate_series(0, {KEPT} - 1) AS n;
INSERT INTO outbox.pages (page, epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at, confirmed_at)
SELECT n * {SEGMENT_PAGES}::bigint, 1, '1:1:', '1:1:', 1, 1, 1, at, at
FROM generate_series(0, {PAGES_KEPT} - 1) AS n,
  LATERAL (SELECT now() - make_interval(days => {PAGES_KEPT} - n) AS at) AS day;
"""
# An order of some days ago, with an event in each segment since.
AGED = text("""
WITH placed AS (
  UPDATE orders SET placed_at = placed_at - make_interval(days => :days) WHERE id = :id RETURNING id::text)
UPDATE outbox.events SET subject = placed.id, type = 'order.' || events.id FROM placed
WHERE events.id >= :first_id AND subject = 'other'""")
EMPTIED = text("DELETE FROM outbox.events WHERE id = :id")
OPENED = text("""
SELECT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE pid = pg_backend_pid() AND relname ~ '^(events|pages)_[0-9]+$' ORDER BY 1""")


def events(*segments: int) -> list[str]:
    return [f"events_{number:06d}" for number in segments]


def pages(*segments: int) -> list[str]:
    return [f"pages_{number:06d}" for number in segments]


# The segment in use, the one that was begun before the order was placed, and one that the search for it reads.
EVENTS_OF_TODAY = events(KEPT - 2, KEPT - 1, KEPT)
PAGES_OF_TODAY = pages(PAGES_KEPT - 2, PAGES_KEPT - 1, PAGES_KEPT)


@asynccontextmanager
async def busy_shop(database_url: str) -> AsyncIterator[tuple[AsyncEngine, Order]]:
    """An order of this moment in an outbox that keeps many segments, and has made others ahead."""
    async with connected(database_url) as (connection,), engine_of(database_url) as engine:
        await connection.execute(NOW)
        await make_partitions(connection)
        await connection.execute(HISTORY)
        async with engine.begin() as tx:
            placed = await place(tx, sample_order(), "urn:test")
            assert isinstance(placed, Placed)
            order = await repository.get(tx, placed.order_id)
            assert order is not None
        yield engine, order


async def opened(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[object]]) -> list[str]:
    """The segments that a piece of work has locked, at whichever of its executions these were the most."""
    most: list[str] = []
    async with repeatable_read(engine).connect() as tx:
        for _ in range(TIMES):
            await work(tx)
            most = max(most, list((await tx.execute(OPENED)).scalars()), key=len)
            await tx.rollback()
    return most


async def test_a_timeline_opens_the_segments_of_its_orders_lifetime_whatever_is_kept_and_made_ahead(
    database_url: str,
) -> None:
    async with busy_shop(database_url) as (engine, order):
        assert await opened(engine, lambda tx: load_timeline(tx, order)) == EVENTS_OF_TODAY + PAGES_OF_TODAY


async def test_an_older_orders_events_are_found_in_every_segment_since_also_behind_an_empty_one(
    database_url: str,
) -> None:
    days = 5

    async with busy_shop(database_url) as (engine, order):
        async with engine.begin() as tx:
            await tx.execute(AGED, {"days": days, "id": order.id, "first_id": (KEPT - days) * SEGMENT_EVENTS})
            await tx.execute(EMPTIED, {"id": (KEPT - 2) * SEGMENT_EVENTS})
        async with repeatable_read(engine).begin() as tx:
            older = await repository.get(tx, order.id)
            assert older is not None
            timeline = await load_timeline(tx, older)
        assert [one.what for one in timeline.entries].count(EntryKind.COMMITTED) == days
        segments = await opened(engine, lambda tx: load_timeline(tx, older))
        assert [one for one in segments if one.startswith("events")] == events(*range(KEPT - days - 1, KEPT + 1))


async def test_an_audit_of_today_opens_the_events_of_today(database_url: str) -> None:
    async with busy_shop(database_url) as (engine, _):
        now = datetime.now(UTC)
        window = Window(now - timedelta(hours=1), now + timedelta(hours=1))
        books = await opened(engine, lambda tx: read_orders(tx, window))
        assert [one for one in books if one.startswith("events")] == EVENTS_OF_TODAY
        first_id = await opened(engine, lambda tx: first_id_since(tx, window.since))
        assert first_id == EVENTS_OF_TODAY + PAGES_OF_TODAY


async def test_placing_an_order_opens_one_segment_and_a_check_of_readiness_none(database_url: str) -> None:
    async with busy_shop(database_url) as (engine, _):
        new = sample_order(reference="PO-2")
        assert await opened(engine, lambda tx: place(tx, new, "urn:test")) == events(KEPT)
        assert await opened(engine, check_table) == []
