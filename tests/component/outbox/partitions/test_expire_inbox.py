"""A month of the inbox is dropped when none of its events can come again and be taken for a new one, never before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from outbox.envelope import lowest_id
from outbox.partitions.create import make_partitions
from outbox.partitions.expire_inbox import expire_month
from outbox.partitions.expiry import ExpiryLimits, ExpiryOutcome, ExpiryResult
from outbox.partitions.horizon import horizon
from tests.support.probes.database import Asyncpg, connected, engine_of, waits_for_a_lock

RETENTION = timedelta(days=100)
JANUARY = datetime(2026, 1, 15, tzinfo=UTC)
MARCH = datetime(2026, 3, 15, tzinfo=UTC)
LONG_AFTER = datetime(2026, 5, 20, tzinfo=UTC)  # of January, not of February
DELIVERY = """
INSERT INTO outbox.deliveries
       (consumer, event_id, subject, state, generation, claims, lease_token, lease_until, changed_at)
SELECT 'sap', $1, 's', $2, 1, 0, CASE WHEN $2 = 'running' THEN gen_random_uuid() END,
       CASE WHEN $2 = 'running' THEN now() END, clock_timestamp() - $3::interval"""
FINISH = "UPDATE outbox.deliveries SET state = 'done', lease_token = NULL, lease_until = NULL WHERE event_id = $1"
INTO_JANUARY = DELIVERY.replace("outbox.deliveries", "outbox.deliveries_2026_01")
DEAD_LETTER = """
INSERT INTO outbox.dead_letters (dead_letter_key, state, queue, event_id, body, headers, reason)
VALUES (gen_random_uuid()::text, $2, $3, $1, '', '{}', 'rejected') RETURNING id"""
REPLAY = """
INSERT INTO outbox.dead_letter_actions (dead_letter_id, action, actor, why, acted_at, due_at)
VALUES ($1, 'replay', 'me', 'because', clock_timestamp() - $2::interval, clock_timestamp() - $3::interval)"""
SCHEDULE = """
INSERT INTO outbox.scheduled (due_at, event_id, type, subject, source, time, data)
VALUES (now(), $1, 'order.placed', 's', 'urn:test', now(), '')"""
MONTHS = """
SELECT relname FROM pg_class WHERE relname ~ '^deliveries_\\d+_\\d+$' AND relkind = 'r' ORDER BY 1"""
PENDING = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'outbox.deliveries_2026_01'::regclass"
OLD = timedelta(days=1000)
PATIENCE = 0.15
DROPPED = ExpiryResult("deliveries_2026_01", ExpiryOutcome.DROPPED)
POSTPONED = ExpiryResult("deliveries_2026_01", ExpiryOutcome.POSTPONED)
ATTACHED_AGAIN = ExpiryResult("deliveries_2026_01", ExpiryOutcome.ATTACHED_AGAIN)


@dataclass
class Inbox:
    """An inbox whose months begin with January 2026, and connections."""

    dropper: Asyncpg
    writer: Asyncpg
    other: Asyncpg

    async def deliver(self, moment: datetime, state: str = "done", age: timedelta = OLD) -> UUID:
        event_id = UUID(int=lowest_id(moment).int | 7 << 76 | 1)
        await self.writer.execute(DELIVERY, event_id, state, age)
        return event_id

    async def dead_letter(self, event_id: UUID, state: str, queue: str = "sap") -> int:
        return int(await self.writer.fetchval(DEAD_LETTER, event_id, state, queue))

    async def turn(self, now: datetime = LONG_AFTER, patience: float = PATIENCE) -> ExpiryResult | None:
        return await expire_month(self.dropper, RETENTION, now, ExpiryLimits(lock_seconds=patience))

    async def months(self) -> list[str]:
        return [row["relname"].removeprefix("deliveries_") for row in await self.other.fetch(MONTHS)]


@asynccontextmanager
async def inbox(url: str) -> AsyncIterator[Inbox]:
    async with connected(url, 3) as (dropper, writer, other):
        for row in await other.fetch(MONTHS):
            await other.execute(f"DROP TABLE outbox.{row['relname']}")
        await make_partitions(other, date(2026, 1, 1))
        await make_partitions(other, date(2026, 5, 1))
        yield Inbox(dropper, writer, other)


async def test_the_oldest_month_is_dropped_once_its_last_moment_is_past_retention(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        await box.deliver(JANUARY)
        await box.deliver(datetime(2019, 1, 1, tzinfo=UTC))  # the first month takes all that is older
        month_ends = datetime(2026, 2, 1, tzinfo=UTC)
        assert await box.turn(month_ends + RETENTION - timedelta(seconds=1)) is None
        assert await box.turn(month_ends + RETENTION) == DROPPED
        assert await box.turn(month_ends + RETENTION) is None
        assert await box.months() == [f"2026_{month:02}" for month in range(2, 9)]


@pytest.mark.parametrize("state", ["running", "retrying", "dead"])
async def test_a_month_stays_while_one_of_its_deliveries_is_not_at_its_end(
    shared_database_url: str, state: str
) -> None:
    async with inbox(shared_database_url) as box:
        event_id = await box.deliver(JANUARY, state)
        assert await box.turn() is None
        await box.writer.execute(FINISH, event_id)
        assert await box.turn() == DROPPED


async def test_a_month_stays_while_one_of_its_deliveries_has_changed_within_retention(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        await box.deliver(JANUARY, age=RETENTION - timedelta(minutes=1))
        assert await box.turn() is None
        await box.writer.execute("UPDATE outbox.deliveries SET changed_at = changed_at - interval '2 minutes'")
        assert await box.turn() == DROPPED


async def test_a_dead_delivery_is_kept_until_an_operator_has_decided_about_its_dead_letter(
    shared_database_url: str,
) -> None:
    async with inbox(shared_database_url) as box:
        event_id = await box.deliver(JANUARY, "dead")
        await box.dead_letter(event_id, "discarded", queue="email")  # another step's
        assert await box.turn() is None
        dead_letter = await box.dead_letter(event_id, "open")
        assert await box.turn() is None
        await box.writer.execute("UPDATE outbox.dead_letters SET state = 'discarded' WHERE id = $1", dead_letter)
        assert await box.turn() == DROPPED


@pytest.mark.parametrize("moment", [JANUARY, datetime(2019, 1, 1, tzinfo=UTC)])
async def test_a_month_stays_while_a_dead_letter_of_it_or_of_an_older_event_is_open(
    shared_database_url: str, moment: datetime
) -> None:
    async with inbox(shared_database_url) as box:
        dead_letter = await box.dead_letter(lowest_id(moment), "open", queue="email")
        await box.dead_letter(lowest_id(MARCH), "open")
        assert await box.turn() is None
        await box.writer.execute("UPDATE outbox.dead_letters SET state = 'discarded' WHERE id = $1", dead_letter)
        assert await box.turn() == DROPPED


async def test_a_month_stays_while_a_replay_of_one_of_its_dead_letters_may_be_on_its_way(
    shared_database_url: str,
) -> None:
    async with inbox(shared_database_url) as box:
        event_id = await box.deliver(JANUARY, "dead")
        dead_letter = await box.dead_letter(event_id, "replayed")
        await box.writer.execute(REPLAY, dead_letter, OLD, timedelta(days=-1))
        assert await box.turn() is None
        await box.writer.execute("UPDATE outbox.dead_letter_actions SET due_at = NULL, acted_at = now()")
        assert await box.turn() is None
        await box.writer.execute("UPDATE outbox.dead_letter_actions SET acted_at = now() - interval '101 days'")
        assert await box.turn() == DROPPED


async def test_a_month_stays_while_one_of_its_events_is_scheduled(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        await box.writer.execute(SCHEDULE, lowest_id(JANUARY))
        assert await box.turn() is None
        await box.writer.execute("DELETE FROM outbox.scheduled")
        await box.writer.execute(SCHEDULE, lowest_id(MARCH))
        assert await box.turn() == DROPPED


async def test_the_last_month_stays_because_it_says_where_the_next_one_begins(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        for month in range(1, 8):
            assert await box.turn(datetime(2030, 1, 1, tzinfo=UTC)) == ExpiryResult(
                f"deliveries_2026_{month:02}", ExpiryOutcome.DROPPED
            )
        assert await box.turn(datetime(2030, 1, 1, tzinfo=UTC)) is None
        assert await box.months() == ["2026_08"]


async def test_a_dropped_month_is_never_made_again_and_an_id_of_it_is_refused(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        assert await box.turn() == DROPPED
        assert await make_partitions(box.other, date(2026, 5, 1)) == 0
        assert await make_partitions(box.other, date(2026, 6, 1)) == 1
        assert "2026_01" not in await box.months()
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await box.deliver(JANUARY)
        assert refused.value.table_name == "deliveries"
        await box.deliver(datetime(2026, 2, 1, tzinfo=UTC))


async def test_the_horizon_is_where_the_oldest_month_begins(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box, engine_of(shared_database_url) as engine:

        async def seen() -> UUID | None:
            async with engine.connect() as tx:
                return await horizon(tx)

        assert await seen() is None
        assert await box.turn() == DROPPED
        assert await seen() == lowest_id(datetime(2026, 2, 1, tzinfo=UTC))
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.deliveries")
        later = LONG_AFTER + timedelta(days=30)
        assert await box.turn(later) == ExpiryResult("deliveries_2026_02", ExpiryOutcome.POSTPONED)
        assert await seen() == lowest_id(datetime(2026, 3, 1, tzinfo=UTC))  # half detached: no writer sees it
        await box.other.execute("COMMIT")


async def test_a_delivery_of_a_writer_that_is_still_open_is_waited_for_and_kept(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        await box.writer.execute("BEGIN")
        event_id = await box.deliver(JANUARY, "retrying")
        assert await box.turn() == POSTPONED
        assert not await box.other.fetchval(PENDING)  # or a delivery of this month would be refused meanwhile
        await box.writer.execute("COMMIT")
        assert await box.turn() is None
        assert await box.other.fetchval("SELECT event_id FROM outbox.deliveries") == event_id


async def test_a_delivery_between_the_check_and_the_detaching_brings_its_month_back(
    shared_database_url: str,
) -> None:
    async with inbox(shared_database_url) as box:
        await box.other.execute("BEGIN; LOCK TABLE outbox.deliveries IN SHARE UPDATE EXCLUSIVE MODE")
        dropping = asyncio.create_task(box.turn(patience=30))
        await waits_for_a_lock(box.writer, box.dropper.get_server_pid())
        event_id = await box.deliver(JANUARY, "retrying")
        await box.other.execute("COMMIT")
        assert await dropping == ATTACHED_AGAIN
        assert await box.other.fetchval("SELECT event_id FROM outbox.deliveries") == event_id
        assert await box.turn() is None
        await box.writer.execute("UPDATE outbox.deliveries SET state = 'done'")
        assert await box.turn() == DROPPED


async def test_writers_continue_while_a_month_is_half_detached_and_an_interrupted_expiry_is_finished(
    shared_database_url: str,
) -> None:
    async with inbox(shared_database_url) as box:
        await box.deliver(JANUARY)
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert await box.other.fetchval("SELECT count(*) FROM outbox.deliveries") == 1
        await box.writer.execute("SET lock_timeout = '5s'")
        for day in (1, 2):
            assert await box.turn() == POSTPONED
            assert await box.writer.fetchval(PENDING)
            await box.deliver(datetime(2026, 5, day, tzinfo=UTC))
            assert await box.other.fetchval("SELECT count(*) FROM outbox.deliveries") == 1
        await box.other.execute("COMMIT")
        assert await box.turn() == DROPPED
        assert await box.other.fetchval("SELECT count(*) FROM outbox.deliveries") == 2


async def test_an_expiry_that_died_between_detaching_and_dropping_is_checked_and_finished_or_undone(
    shared_database_url: str,
) -> None:
    async with inbox(shared_database_url) as box:
        for came, outcome in (("running", ATTACHED_AGAIN), ("done", DROPPED)):
            await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.deliveries")
            assert await box.turn() == POSTPONED
            await box.other.execute("COMMIT")
            await box.other.execute("ALTER TABLE outbox.deliveries DETACH PARTITION outbox.deliveries_2026_01 FINALIZE")
            event_id = lowest_id(JANUARY)
            await box.writer.execute(INTO_JANUARY, event_id, came, OLD)
            assert await box.turn() == outcome
            await box.writer.execute("DELETE FROM outbox.deliveries")
        assert "2026_01" not in await box.months()


async def test_a_month_that_an_operator_detached_is_left_alone(shared_database_url: str) -> None:
    async with inbox(shared_database_url) as box:
        await box.other.execute("ALTER TABLE outbox.deliveries DETACH PARTITION outbox.deliveries_2026_01")
        assert await box.turn() is None
        later = LONG_AFTER + timedelta(days=30)
        await box.other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox.deliveries")
        await box.writer.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await box.writer.execute(
                "ALTER TABLE outbox.deliveries DETACH PARTITION outbox.deliveries_2026_02 CONCURRENTLY"
            )
        await box.other.execute("COMMIT")
        assert await box.turn(later) == ExpiryResult("deliveries_2026_02", ExpiryOutcome.FINALIZED)
        assert (await box.months())[:2] == ["2026_01", "2026_02"]
