"""Migration 0003 indexes an outbox that is at work: writers pass, and segments come and go meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from alembic import command

from migrations.upgrade import alembic_config, upgrade
from outbox.partitions.create import SEGMENT_EVENTS, SEGMENTS_AHEAD, make_partitions
from tests.support.probes.database import Asyncpg, connected

SEGMENTS = SEGMENTS_AHEAD + 1
INDEXED = """
SELECT count(*) FILTER (WHERE part.inhrelid IS NOT NULL AND indisvalid), count(DISTINCT segment.inhrelid)
FROM pg_inherits AS segment LEFT JOIN pg_index ON indrelid = segment.inhrelid
LEFT JOIN pg_inherits AS part ON part.inhrelid = indexrelid AND part.inhparent = 'outbox.events_subject'::regclass
WHERE segment.inhparent = 'outbox.events'::regclass"""
VALID = "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = ANY($1::text[]::regclass[])"
INDEXES = ["outbox.events_subject", "outbox.scheduled_subject", "outbox.dead_letters_subject"]
INTO = (
    "INSERT INTO outbox.{} (event_id, type, subject, source, time, data) "
    "VALUES (gen_random_uuid(), 'order.placed', 's', 'urn:test', now(), '') RETURNING id"
)
EVENT, FIRST_SEGMENT = INTO.format("events"), INTO.format("events_000000")
RETRY = (
    "INSERT INTO outbox.scheduled (due_at, event_id, type, subject, source, time, data) "
    "VALUES (now(), gen_random_uuid(), 't', 's', 'urn:test', now(), '')"
)
LETTER = (
    "INSERT INTO outbox.dead_letters (letter_key, queue, body, headers, reason) "
    "VALUES (gen_random_uuid()::text, 'q', '', '{}', 'rejected')"
)
# Longer than migrations/env.py lets a migration wait for a lock.
WAITED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE $1 AND wait_event_type = 'Lock'
  AND clock_timestamp() - query_start > make_interval(secs => $2)"""
TOO_LONG = 5.5


@asynccontextmanager
async def before(url: str, connections: int) -> AsyncIterator[list[Asyncpg]]:
    """A database before the migration, with its segments."""
    await asyncio.to_thread(command.upgrade, alembic_config(url), "0002")
    async with connected(url, connections) as opened:
        await make_partitions(opened[0])
        yield opened


async def waits(observer: Asyncpg, task: "asyncio.Task[object]", statement: str, seconds: float = 0.0) -> None:
    """Return once a task waits in a statement, for so long; raise what ended the task before."""
    while not await observer.fetchval(WAITED, statement, seconds):
        if task.done():
            raise AssertionError(f"it did not wait in {statement}") from task.exception()
        await asyncio.sleep(0.01)


def upgrading(url: str) -> "asyncio.Task[object]":
    return asyncio.create_task(asyncio.to_thread(upgrade, url))


async def whole(connection: Asyncpg) -> bool:
    """Whether every index is there and of use."""
    indexed, segments = await counted(connection)
    return bool(await connection.fetchval(VALID, INDEXES)) and indexed == segments


async def counted(connection: Asyncpg) -> tuple[int, int]:
    """Segments with their part of the index, and segments."""
    row = await connection.fetchrow(INDEXED)
    assert row is not None
    return row[0], row[1]


async def test_writers_pass_while_the_migration_waits_for_one_longer_than_for_any_lock(empty_database_url: str) -> None:
    async with before(empty_database_url, 3) as (observer, slow, writer):
        await writer.execute("SET lock_timeout = '200ms'")
        await slow.execute("BEGIN")
        await slow.execute(FIRST_SEGMENT)
        migration = upgrading(empty_database_url)
        await waits(observer, migration, "CREATE INDEX%events_000000%", TOO_LONG)
        await writer.execute(EVENT)
        await slow.execute("COMMIT")
        await migration
        assert await whole(observer)


@pytest.mark.parametrize(
    ("table", "writes"),
    [
        ("scheduled", RETRY),
        ("dead_letters", LETTER),
    ],
)
async def test_retries_and_letters_pass_too_up_and_down(empty_database_url: str, table: str, writes: str) -> None:
    async with before(empty_database_url, 3) as (observer, slow, writer):
        await writer.execute("SET lock_timeout = '200ms'")

        async def while_one_is_at_work(migrate: Callable[[], None]) -> None:
            await slow.execute("BEGIN")
            await slow.execute(writes)
            migration: asyncio.Task[object] = asyncio.create_task(asyncio.to_thread(migrate))
            await waits(observer, migration, f"%INDEX%{table}%")
            await writer.execute(writes)
            await slow.execute("COMMIT")
            await migration

        await while_one_is_at_work(lambda: upgrade(empty_database_url))
        assert await whole(observer)
        await while_one_is_at_work(lambda: command.downgrade(alembic_config(empty_database_url), "0002"))
        await asyncio.to_thread(upgrade, empty_database_url)
        assert await whole(observer)


async def test_a_migration_that_was_cut_short_goes_on_and_new_segments_have_the_index(empty_database_url: str) -> None:
    async with before(empty_database_url, 1) as (connection,):
        await connection.execute("CREATE INDEX events_subject ON ONLY outbox.events (subject)")
        # Of no use, as one is whose making was interrupted: made for other rows than it says.
        await connection.execute("CREATE INDEX events_000001_subject_idx ON outbox.events_000001 (subject)")
        await connection.execute("CREATE INDEX scheduled_subject ON outbox.scheduled (subject)")
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = ANY($1::text[]::regclass[])",
            ["outbox.events_000001_subject_idx", "outbox.scheduled_subject"],
        )
        await asyncio.to_thread(upgrade, empty_database_url)
        assert await whole(connection)
        assert await counted(connection) == (SEGMENTS, SEGMENTS)

        await connection.execute("SELECT setval('outbox.event_ids', $1::bigint)", 3 * SEGMENT_EVENTS)
        made = await make_partitions(connection)
        assert made == 3
        assert await counted(connection) == (SEGMENTS + made, SEGMENTS + made)
        assert await whole(connection)


@pytest.mark.parametrize("dropped", ["events_000000", "events_000001"])
async def test_a_segment_that_is_dropped_meanwhile_needs_no_index(empty_database_url: str, dropped: str) -> None:
    """The one that the migration is at, or a later one."""

    async with before(empty_database_url, 2) as (observer, relay):
        await relay.execute("BEGIN; LOCK TABLE outbox.events_000000 IN SHARE UPDATE EXCLUSIVE MODE")
        migration = upgrading(empty_database_url)
        await waits(observer, migration, "CREATE INDEX%events_000000%")
        await relay.execute(f"ALTER TABLE outbox.events DETACH PARTITION outbox.{dropped}")
        await relay.execute(f"DROP TABLE outbox.{dropped}; COMMIT")
        await migration
        assert await whole(observer)
        assert (await counted(observer))[1] == SEGMENTS - 1


async def test_a_segment_that_is_being_detached_needs_no_index(empty_database_url: str) -> None:
    async with before(empty_database_url, 3) as (observer, relay, reader):
        await reader.execute("BEGIN; SELECT FROM outbox.events")
        detach = relay.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000000 CONCURRENTLY")
        detaching: asyncio.Task[object] = asyncio.create_task(detach)
        await waits(observer, detaching, "ALTER TABLE outbox.events DETACH%")
        await observer.execute("SELECT pg_cancel_backend($1)", relay.get_server_pid())
        await asyncio.gather(detaching, return_exceptions=True)
        await reader.execute("ROLLBACK")
        await asyncio.to_thread(upgrade, empty_database_url)
        assert await relay.fetchval(VALID, INDEXES) is True
        await relay.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000000 FINALIZE")
        assert await whole(relay)


async def test_an_index_whose_last_segment_went_before_it_had_its_part_is_made_again(empty_database_url: str) -> None:
    async with before(empty_database_url, 1) as (connection,):
        await connection.execute("CREATE INDEX events_subject ON ONLY outbox.events (subject)")
        for number in range(1, SEGMENTS):
            segment = f"events_{number:06d}"
            await connection.execute(f"CREATE INDEX {segment}_subject_idx ON outbox.{segment} (subject)")
            await connection.execute(f"ALTER INDEX outbox.events_subject ATTACH PARTITION outbox.{segment}_subject_idx")
        await connection.execute("ALTER TABLE outbox.events DETACH PARTITION outbox.events_000000")
        await asyncio.to_thread(upgrade, empty_database_url)
        assert await whole(connection)
