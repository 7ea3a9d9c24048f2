"""Scheduled messages become events when due, in order, exactly once however many processes move them."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.due_messages import DuePosition, move_due, start
from outbox.envelope import MAX_DATA_BYTES, Event
from outbox.record import EventTooLargeError
from outbox.schedule import schedule
from tests.support.builders.events import new_event
from tests.support.probes.database import Asyncpg, connected, engine_of, pid_of

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2126, 1, 1, tzinfo=UTC)


async def scheduled(engine: AsyncEngine, due_at: datetime, event: Event | None = None) -> Event:
    event = event or new_event()
    async with engine.begin() as tx:
        await schedule(tx, event, "sap", due_at)
    return event


async def moved_ids(observer: Asyncpg) -> list[object]:
    return [row["event_id"] for row in await observer.fetch("SELECT event_id FROM outbox.events ORDER BY id")]


async def test_a_message_is_not_moved_before_it_is_due(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        await scheduled(engine, FAR_OFF)
        due = await scheduled(engine, LONG_AGO)
        assert (await move_due(mover)).rows == 1
        assert await moved_ids(mover) == [due.id]
        assert (await move_due(mover)).rows == 0
        assert await mover.fetchval("SELECT count(*) FROM outbox.scheduled") == 1
        await mover.execute("UPDATE outbox.scheduled SET due_at = clock_timestamp()")
        assert (await move_due(mover)).rows == 1


async def test_due_messages_are_moved_in_order_of_being_due(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        events: dict[int, list[object]] = {}
        for minute in (3, 1, 2, 0, 1):
            event = await scheduled(engine, LONG_AGO + timedelta(minutes=minute))
            events.setdefault(minute, []).append(event.id)
        assert (await move_due(mover)).rows == 5
        assert await moved_ids(mover) == [event for minute in sorted(events) for event in events[minute]]


async def test_no_more_are_moved_at_once_than_the_limit_says_the_longest_due_first(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        ids = [(await scheduled(engine, LONG_AGO + timedelta(minutes=n))).id for n in range(5)]
        assert (await move_due(mover, limit=2)).rows == 2
        assert await moved_ids(mover) == ids[:2]
        assert (await move_due(mover, limit=2)).rows == 2
        assert (await move_due(mover, limit=2)).rows == 1
        assert await moved_ids(mover) == ids


async def test_a_scheduler_continues_from_its_position_and_finds_late_commits_before_it(
    shared_database_url: str,
) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        ids = [(await scheduled(engine, LONG_AGO)).id for _ in range(4)]  # due together: their ids tell them apart
        first = await move_due(mover, 2)
        assert first.last is not None
        assert (first.rows, first.last.due_at) == (2, LONG_AGO)
        late = await scheduled(engine, LONG_AGO - timedelta(minutes=1))
        assert (await move_due(mover, after=first.last)).rows == 2
        assert await moved_ids(mover) == ids
        assert (await move_due(mover, before=first.last)).rows == 1
        assert await moved_ids(mover) == [*ids, late.id]


async def test_a_mover_starts_before_all_that_is_due_and_all_that_is_to_come(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        before = await mover.fetchval("SELECT clock_timestamp()")
        await scheduled(engine, FAR_OFF)
        assert before <= (await start(mover)).due_at <= await mover.fetchval("SELECT clock_timestamp()")
        await scheduled(engine, LONG_AGO)
        assert await start(mover) == DuePosition(LONG_AGO, 0)
        assert (await move_due(mover, after=await start(mover))).rows == 1


async def test_a_message_due_since_ever_is_moved_and_its_position_is_a_time_that_python_has(
    shared_database_url: str,
) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        await scheduled(engine, LONG_AGO)
        await mover.execute("UPDATE outbox.scheduled SET due_at = '-infinity'")
        assert (await start(mover)).due_at.year == 2000
        moved = await move_due(mover)
        assert moved.rows == 1
        assert moved.last is not None
        assert moved.last < DuePosition(LONG_AGO, 0)


async def test_a_moved_message_is_the_one_that_was_scheduled(shared_database_url: str) -> None:
    event = new_event("order-5", generation=4, traceparent="00-a-b-01", data=b"\x00\xff")
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (mover,):
        await scheduled(engine, LONG_AGO, event)
        await move_due(mover)
        row = await mover.fetchrow("SELECT *, event_id AS id FROM outbox.events")
    assert row is not None
    assert row["destination"] == "sap"
    names = [name for name in event.__slots__ if name != "id"]
    assert row["event_id"] == event.id
    assert {name: row[name] for name in names} == {name: getattr(event, name) for name in names}


async def test_two_movers_at_once_move_each_message_exactly_once(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url, 3) as (one, two, observer):
        async with engine.begin() as tx:
            for _ in range(200):
                await schedule(tx, new_event(), "sap", LONG_AGO)
        ids = {row["event_id"] for row in await observer.fetch("SELECT event_id FROM outbox.scheduled")}

        async def move(connection: Asyncpg) -> int:
            total = 0
            while await observer_count() > 0:
                total += (await move_due(connection, limit=7)).rows
            return total

        lock = asyncio.Lock()

        async def observer_count() -> int:
            async with lock:
                return int(await observer.fetchval("SELECT count(*) FROM outbox.scheduled"))

        assert sum(await asyncio.gather(move(one), move(two))) == 200
        stored = await moved_ids(observer)
        assert len(stored) == 200
        assert set(stored) == ids


async def test_a_mover_overtakes_messages_that_another_transaction_holds(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url, 2) as (holder, mover):
        await scheduled(engine, LONG_AGO)
        free = await scheduled(engine, LONG_AGO + timedelta(minutes=1))
        await holder.execute("BEGIN")
        await holder.execute("SELECT 1 FROM outbox.scheduled ORDER BY due_at LIMIT 1 FOR UPDATE")
        assert (await move_due(mover)).rows == 1
        assert await moved_ids(mover) == [free.id]
        await holder.execute("ROLLBACK")
        assert (await move_due(mover)).rows == 1


async def test_a_mover_killed_before_its_commit_has_moved_nothing(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        event = await scheduled(engine, LONG_AGO)
        victim = await asyncpg.connect(shared_database_url)
        try:
            await victim.execute("BEGIN")
            assert (await move_due(victim)).rows == 1
            await observer.fetchval("SELECT pg_terminate_backend($1, 10000)", victim.get_server_pid())
        finally:
            victim.terminate()
        assert await moved_ids(observer) == []
        assert (await move_due(observer)).rows == 1
        assert await moved_ids(observer) == [event.id]


async def test_scheduling_is_undone_with_its_transaction(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine, connected(shared_database_url) as (observer,):
        async with engine.connect() as tx:
            await schedule(tx, new_event(), "sap", LONG_AGO)
            assert await pid_of(tx) > 0
            await tx.rollback()
        assert (await move_due(observer)).rows == 0


async def test_a_message_too_large_is_refused_when_it_is_scheduled_not_when_it_is_due(shared_database_url: str) -> None:
    async with engine_of(shared_database_url) as engine:
        with pytest.raises(EventTooLargeError, match="of order-1: data of 1048577 bytes"):
            await scheduled(engine, LONG_AGO, new_event(data=b"x" * (MAX_DATA_BYTES + 1)))
