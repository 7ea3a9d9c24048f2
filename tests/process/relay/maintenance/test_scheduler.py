"""The real relay moves what becomes due: in time, in order, and once although it is killed in mid-batch."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from outbox.envelope import Event
from outbox.schedule import schedule
from tests.support.builders.events import new_event
from tests.support.probes.database import connected, engine_of, run
from tests.support.probes.relay_harness import RelayHarness, first_copies
from tests.support.processes.relay import relay

QUEUE = "sap"
FAR_OFF = timedelta(hours=1)
# In the order of $1, over three seconds of the database's clock, which also says when each was moved.
BECOME_DUE = """
UPDATE outbox.scheduled AS waiting SET due_at = clock.now + interval '0.5 s' + turn.number * interval '15 ms'
FROM unnest($1::uuid[]) WITH ORDINALITY AS turn (event_id, number), (SELECT statement_timestamp() AS now) AS clock
WHERE waiting.event_id = turn.event_id RETURNING waiting.event_id, waiting.due_at"""
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
MOVED = "SELECT event_id FROM outbox.events ORDER BY id"
MOVER_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'outbox.events'::regclass)"
ROWS = 400
ALL_MOVED = "SELECT count(*) = $1 FROM outbox.events"
# What an operator may set, and only sessions that begin later have.
SHORT_OF_PATIENCE = "ALTER DATABASE {} SET lock_timeout = '50ms'"
PATIENT = "ALTER DATABASE {} RESET lock_timeout"


def scheduled(harness: RelayHarness, dues: Sequence[datetime]) -> list[Event]:
    """One event of a subject of its own for each time, due then; in the order of `dues`."""
    events = [new_event(f"order-{number}") for number in range(len(dues))]

    async def write() -> None:
        async with engine_of(harness.database_url) as engine, engine.begin() as tx:
            for event, due_at in zip(events, dues, strict=True):
                await schedule(tx, event, QUEUE, due_at)

    asyncio.run(write())
    return events


def moved(harness: RelayHarness) -> list[object]:
    return [row["event_id"] for row in harness.rows(MOVED)]


def test_what_becomes_due_is_published_soon_after_not_before_and_in_order_of_being_due(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        process.wait_for("leading")
        turns = [event.id for event in scheduled(harness, [datetime.now(UTC) + FAR_OFF] * 200)]
        Random(7).shuffle(turns)
        due_at = {row["event_id"]: row["due_at"] for row in harness.rows(BECOME_DUE, turns)}
        harness.wait_for_cursor(len(turns))
    rows = harness.rows("SELECT event_id, recorded_at FROM outbox.events ORDER BY id")
    late = sorted((row["recorded_at"] - due_at[row["event_id"]]).total_seconds() for row in rows)
    assert [row["event_id"] for row in rows] == turns
    assert first_copies(harness.take(QUEUE)) == [str(row["event_id"]) for row in rows]
    assert late[0] >= 0
    # All of them are on a machine that does nothing else. A pause, or a slow commit, spares those whose turn is in
    # another of the three seconds; a scheduler that scans twice a second is later with four fifths of them.
    assert late[len(late) // 4] < 0.1


def test_a_relay_killed_in_mid_batch_is_followed_by_one_that_moves_each_row_once(
    harness: RelayHarness, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    events = scheduled(harness, [now - timedelta(minutes=9)] * ROWS)
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=1) as process:
        harness.wait_until(ALL_MOVED, ROWS)

        async def kill_in_mid_batch() -> None:
            async with connected(harness.database_url, 2) as (holder, observer), holder.transaction():
                # The batch's rows are deleted, its events wait for this lock.
                await holder.execute("LOCK TABLE outbox.events IN SHARE ROW EXCLUSIVE MODE")
                events.extend(await asyncio.to_thread(scheduled, harness, [now] * ROWS))
                while not await observer.fetchval(MOVER_WAITS):  # noqa: ASYNC110 - the database is what is waited for
                    await asyncio.sleep(0.005)
                process.kill()
                assert await observer.fetchval("SELECT count(*) FROM outbox.scheduled") == ROWS

        run(kill_in_mid_batch)
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.wait_until("SELECT count(*) = 0 FROM outbox.scheduled")
        harness.wait_for_cursor(len(events))
    assert moved(harness) == [event.id for event in events]


def test_a_row_committed_late_with_an_older_due_time_is_moved_too(harness: RelayHarness, tmp_path: Path) -> None:
    async def late(event: Event, due_at: datetime, older_than: list[datetime]) -> None:
        async with engine_of(harness.database_url) as engine, engine.begin() as tx:
            await schedule(tx, event, QUEUE, due_at)
            before = len(moved_now := await asyncio.to_thread(moved, harness))
            await asyncio.to_thread(scheduled, harness, older_than)
            await asyncio.to_thread(harness.wait_until, ALL_MOVED, before + len(older_than))
            assert event.id not in moved_now

    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.wait_until("SELECT count(*) = 0 FROM outbox.scheduled")
        for event, due_at in ((new_event("just"), datetime.now(UTC)), (new_event("long"), LONG_AGO)):
            asyncio.run(late(event, due_at, [datetime.now(UTC)] * 3))
            harness.wait_until("SELECT count(*) = 1 FROM outbox.events WHERE event_id = $1", event.id)
    assert len(moved(harness)) == len(set(moved(harness))) == 8


async def test_a_lock_on_what_is_due_holds_back_no_other_event(harness: RelayHarness, tmp_path: Path) -> None:
    async with connected(harness.database_url) as (holder,):
        database = await holder.fetchval("SELECT quote_ident(current_database())")
        await holder.execute(SHORT_OF_PATIENCE.format(database))
        try:
            await asyncio.to_thread(scheduled, harness, [LONG_AGO])
            with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
                async with holder.transaction():
                    await holder.execute("LOCK TABLE outbox.scheduled IN ACCESS EXCLUSIVE MODE")
                    await asyncio.to_thread(process.wait_for, "due_rows_postponed")
                    await asyncio.to_thread(harness.record, [new_event()])
                    await asyncio.to_thread(harness.wait_for_cursor, 1)
                    await asyncio.to_thread(process.wait_for, "due_rows_postponed", 2)
                await asyncio.to_thread(harness.wait_for_cursor, 2)
                assert "LockNotAvailableError" in process.logged("due_rows_postponed")[0]["error"]
                assert not process.logged("session_ended")
        finally:
            await holder.execute(PATIENT.format(database))
