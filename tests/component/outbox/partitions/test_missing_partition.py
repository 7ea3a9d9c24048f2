"""Writers whose event finds no segment get an error that says so, write nothing, and continue once there is one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.delivery.transactions import Transactions
from orders.service import Placed, place
from outbox.due_messages import move_due
from outbox.missing_partition import NoSegmentError, missing_segment_named
from outbox.record import record
from outbox.schedule import schedule
from outbox.segments import SEGMENT_EVENTS, SEGMENTS_AHEAD
from runtime.database import autocommit
from tests.support.builders.events import new_event
from tests.support.builders.order_rows import counts
from tests.support.builders.orders import new_order
from tests.support.probes.database import Asyncpg, connected, engine_of

END = (SEGMENTS_AHEAD + 1) * SEGMENT_EVENTS
SET_NEXT = "SELECT setval('outbox.event_ids', $1, false)"
SAID = (
    f"outbox.events has no segment for id {END}, so nothing was recorded: the relay that leads makes segments ahead "
    "and has not done so for long; start one, or run `waybill migrate`"
)


@asynccontextmanager
async def full_outbox(url: str) -> AsyncIterator[tuple[AsyncEngine, Asyncpg]]:
    """An outbox whose next id is after its last segment."""
    async with engine_of(url) as engine, connected(url) as (observer,):
        await observer.execute(SET_NEXT, END)
        yield engine, observer


async def test_recording_says_which_id_found_no_segment_and_what_to_do(shared_database_url: str) -> None:
    async with full_outbox(shared_database_url) as (engine, observer):
        with pytest.raises(NoSegmentError) as refusal:
            async with engine.begin() as tx:
                await record(tx, [new_event()])
        assert str(refusal.value) == SAID
        assert isinstance(refusal.value.__cause__, IntegrityError)
        assert await observer.fetchval("SELECT count(*) FROM outbox.events") == 0
        await observer.execute(SET_NEXT, END - 1)
        async with engine.begin() as tx:
            await record(tx, [new_event()])


async def test_an_order_whose_event_finds_no_segment_is_not_placed(shared_database_url: str) -> None:
    async with full_outbox(shared_database_url) as (engine, observer):
        async with autocommit(engine).connect() as tx:
            with pytest.raises(NoSegmentError, match=f"id {END}"):
                await place(tx, new_order(), "urn:test")
        assert await counts(observer) == (0, 0, 0)
        await observer.execute(SET_NEXT, 1)
        async with autocommit(engine).connect() as tx:
            assert isinstance(await place(tx, new_order(), "urn:test"), Placed)


async def test_a_due_message_that_finds_no_segment_waits_on(shared_database_url: str) -> None:
    async with full_outbox(shared_database_url) as (engine, observer):
        async with engine.begin() as tx:
            await schedule(tx, new_event(), "sap", datetime(2026, 1, 1, tzinfo=UTC))
        with pytest.raises(NoSegmentError, match=f"id {END}"):
            await move_due(observer)
        assert await observer.fetchval("SELECT count(*) FROM outbox.scheduled") == 1
        await observer.execute(SET_NEXT, 1)
        assert (await move_due(observer)).rows == 1


async def test_a_step_waits_until_there_is_a_segment_and_spends_no_attempt(shared_database_url: str) -> None:
    async with full_outbox(shared_database_url) as (engine, observer):
        attempts = asyncio.Semaphore(0)

        async def work(tx: AsyncConnection) -> str:
            attempts.release()
            await record(tx, [new_event()])
            return "done"

        waiting = asyncio.create_task(Transactions(engine).run(work))
        for _ in range(2):
            await attempts.acquire()
        assert not waiting.done()
        await observer.execute(SET_NEXT, 1)
        assert await waiting == "done"
        assert await observer.fetchval("SELECT count(*) FROM outbox.events") == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO products (sku, name, available) VALUES ('A', 'a', -1)",
        """INSERT INTO outbox.deliveries (consumer, event_id, subject, state, generation, claims)
        VALUES ('audit', 'ffffffff-ffff-7fff-bfff-ffffffffffff', 's', 'done', 1, 0)""",
    ],
    ids=["check", "another table's partition"],
)
async def test_other_violations_stay_what_they_are(shared_database_url: str, statement: str) -> None:
    async with engine_of(shared_database_url) as engine, engine.connect() as tx:
        with pytest.raises(IntegrityError), missing_segment_named():
            await tx.exec_driver_sql(statement)
