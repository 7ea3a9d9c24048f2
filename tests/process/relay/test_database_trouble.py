"""A database that crashes, and transactions that stay open: each committed event arrives, and nothing else does."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from outbox.envelope import Event
from outbox.record import record
from tests.support.builders.events import new_event
from tests.support.builders.steady_writer import writing
from tests.support.probes.database import committed, engine_of, run
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order, first_copies, numbered
from tests.support.processes.relay import relay
from tests.support.servers.private_servers import OwnPostgres

RECORDED = "SELECT event_id, subject FROM outbox.events ORDER BY id"
TERM = 3.0
EXPIRY = "SELECT expires_at FROM outbox.leases"


def test_a_database_that_crashes_under_writers_and_relay_loses_no_event_that_was_committed(
    private_database_harness: RelayHarness, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    crashing = private_database_harness
    with (
        relay(crashing.database_url, crashing.amqp_url, tmp_path, page_size=20, window=60) as process,
        writing(crashing.database_url, "a", "b", "c") as writers,
    ):
        crashing.wait_for_cursor(300)
        with own_postgres.crashed():
            process.wait_for("session_ended")
        process.wait_for("leading", 2)
        for writer in writers:
            writer.wait_for(100)
        acknowledged = [event for writer in writers for event in writer.stop()]
        recorded = crashing.rows(RECORDED)
        crashing.wait_for_cursor(len(recorded))
    # A writer that was cut off in its COMMIT does not know what became of it: the table does.
    assert {event.id for event in acknowledged} <= {row["event_id"] for row in recorded}
    firsts = first_copies(crashing.take("validation"))
    assert sorted(firsts) == sorted(str(row["event_id"]) for row in recorded)
    subject_of = {str(row["event_id"]): row["subject"] for row in recorded}
    in_order = sorted(firsts, key=subject_of.__getitem__)
    assert in_order == sorted((str(row["event_id"]) for row in recorded), key=subject_of.__getitem__)


async def test_a_transaction_open_for_the_whole_run_holds_back_its_own_events_and_no_others(
    harness: RelayHarness, tmp_path: Path
) -> None:
    early, late = numbered(20, subjects=5), numbered(20, subjects=5)
    others = [new_event(f"other-{number % 50}") for number in range(1500)]

    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        process.wait_for("leading")
        async with engine_of(harness.database_url) as engine:
            async with engine.begin() as tx:
                await record(tx, early)
                for start in range(0, len(others), 100):
                    await committed(engine, others[start : start + 100])
                await asyncio.to_thread(harness.wait_for_cursor, len(others))
                await record(tx, late)
                arrived = await asyncio.to_thread(harness.take, "validation")
                assert_all_there_in_order(others, arrived)
                assert len(arrived) == len(others)
            await asyncio.to_thread(harness.wait_for_cursor, len(others) + 40)
    assert_all_there_in_order(early + late, harness.take("validation")[len(others) :])


@contextlib.contextmanager
def hanging_commits(harness: RelayHarness) -> Iterator[None]:
    """Commits wait for a replica that is not there, with all their locks, as they do for a disk that hangs."""
    try:
        harness.rows("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        harness.rows("SELECT pg_reload_conf()")
        yield
    finally:
        harness.rows("ALTER SYSTEM RESET synchronous_standby_names")
        harness.rows("SELECT pg_reload_conf()")


def record_at_once(harness: RelayHarness, events: Sequence[Event]) -> None:
    """Commit events without waiting for the replica."""

    async def write() -> None:
        async with engine_of(harness.database_url) as engine, engine.begin() as tx:
            await tx.exec_driver_sql("SET LOCAL synchronous_commit = local")
            await record(tx, events)

    run(write)


def test_while_the_cursors_commit_hangs_reading_publishing_and_renewing_go_on(
    private_database_harness: RelayHarness, tmp_path: Path
) -> None:
    harness = private_database_harness
    events = numbered(60, subjects=6)
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=TERM) as process:
        process.wait_for("leading")
        harness.record(events[:10])
        harness.wait_for_cursor(10)
        with hanging_commits(harness):
            record_at_once(harness, events[10:20])
            harness.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            granted = harness.value(EXPIRY)
            record_at_once(harness, events[20:40])
            harness.take_until("validation", 40)
            # A lease later, the same term still renews and publishes.
            harness.wait_until(
                "SELECT expires_at > $1::timestamptz + make_interval(secs => $2) FROM outbox.leases", granted, TERM
            )
            record_at_once(harness, events[40:])
            harness.take_until("validation", 60)
            assert harness.confirmed() == 10
        harness.wait_for_cursor(60)
        assert not process.logged("session_ended")
        assert {row["epoch"] for row in harness.rows("SELECT epoch FROM outbox.pages")} == {1}
    assert_all_there_in_order(events, harness.take("validation"))
    assert len(harness.take("validation")) == 60
