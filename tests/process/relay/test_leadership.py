"""One relay publishes, another waits, and whatever becomes of the one, the other follows it soon."""

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from outbox.cursor.reader import FencedError
from relay.connections import NO_WAIT_FOR_DISK
from relay.leadership import Leadership
from tests.support.builders.events import new_event
from tests.support.fixtures.shared_database import empty
from tests.support.probes.database import connected, run
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order, numbered
from tests.support.probes.waking_clock import waking_clock
from tests.support.processes.relay import relay
from tests.support.proxies.tcp_proxy import proxied
from tests.support.servers.private_servers import OwnPostgres

TAKE_OVER_SECONDS = 5.0
DEFAULT_TERM = 3
LONGER_TERM = 4
NEVER = 3600  # a lease that no test waits out
LEASE = "SELECT expires_at > clock_timestamp() FROM outbox.leases"


def test_a_stopped_leader_is_replaced_within_five_seconds_and_wakes_up_as_a_standby_that_follows_a_killed_one(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with (
        proxied(harness.amqp_url) as (through, proxy),
        relay(harness.database_url, through, tmp_path, lease_seconds=DEFAULT_TERM) as first,
    ):
        first.wait_for("leading")
        with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=DEFAULT_TERM) as second:
            assert second.wait_for("standing_by")["epoch"] == 1
            harness.record([new_event("first")])
            harness.wait_for_cursor(1)
            events = numbered(50, subjects=50)
            proxy.hold_answers()  # it falls asleep with messages in flight, and wakes up to their confirms
            harness.record(events)
            harness.take_until("validation", 51)

            first.send(signal.SIGSTOP)
            with waking_clock() as clock:
                assert second.wait_for("leading")["epoch"] == 2
            assert clock.seconds < TAKE_OVER_SECONDS
            harness.wait_for_cursor(51)

            proxy.release_answers()
            first.send(signal.SIGCONT)
            assert "FencedError" in str(first.wait_for("session_ended")["error"])
            assert first.wait_for("standing_by")["epoch"] == 2
            epochs = harness.rows("SELECT epoch FROM outbox.pages ORDER BY page")
            assert {row["epoch"] for row in epochs[1:]} == {2}
            assert harness.confirmed() == 51

            with waking_clock() as clock:
                second.kill()
                assert first.wait_for("leading", 2)["epoch"] == 3
            assert clock.seconds < TAKE_OVER_SECONDS
            harness.record([new_event("last")])
            harness.wait_for_cursor(52)
    assert_all_there_in_order(events, harness.take("validation")[1:-1])


def test_a_leader_told_to_stop_hands_over_at_once_whatever_the_term(harness: RelayHarness, tmp_path: Path) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as leader:
        leader.wait_for("leading")
        with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as standby:
            standby.wait_for("standing_by")
            with waking_clock() as clock:
                leader.send(signal.SIGTERM)
                assert standby.wait_for("leading")["epoch"] == 2
            assert clock.seconds < 2
            assert leader.process.wait(10) == 0
            assert leader.logged("handed_over")


def test_a_relay_cut_off_from_postgres_ends_its_term_before_its_lease_expires(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with (
        proxied(harness.database_url) as (through, proxy),
        relay(through, harness.amqp_url, tmp_path, lease_seconds=LONGER_TERM) as cut_off,
    ):
        cut_off.wait_for("leading")
        harness.record([new_event("first")])
        harness.wait_for_cursor(1)
        proxy.hold_answers()
        assert proxy.held.wait(60)
        with waking_clock() as clock:
            assert "RenewalError" in str(cut_off.wait_for("session_ended")["error"])
        assert clock.seconds < LONGER_TERM
        # What the server keeps of the dead session does not keep the relay itself from leading again.
        proxy.cut()
        proxy.release_answers()
        cut_off.wait_for("leading", 2)
        harness.record([new_event("second")])
        harness.wait_for_cursor(2)


def test_a_relay_whose_database_sessions_were_ended_leads_again_without_waiting_for_its_own_lease(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as process:
        process.wait_for("leading")
        harness.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'waybill-relay' AND datname = current_database()"
        )
        assert process.wait_for("leading", 2)["epoch"] == 2


async def test_a_relay_told_to_stop_at_any_moment_of_its_acquisition_leaves_no_lease_behind(
    shared_database_url: str,
) -> None:
    async with connected(shared_database_url, 2) as (own, observer):
        acquired: list[bool] = []
        while sum(acquired) < 10:  # from before the first statement until well after the last one
            stopping = asyncio.Event()
            leadership = Leadership(own, NEVER, "it")
            waiting = asyncio.create_task(leadership.wait_to_lead(stopping))
            await asyncio.sleep(0.0002 * len(acquired))
            stopping.set()
            acquired.append(await waiting is not None)
            await leadership.release()
            assert not await observer.fetchval(LEASE), f"told at moment {len(acquired)}"
        assert not acquired[0]


async def test_a_release_reaches_also_a_lease_whose_grant_was_never_read(shared_database_url: str) -> None:
    async with connected(shared_database_url, 2) as (own, observer):
        leadership = Leadership(own, NEVER, "it")
        acquiring = asyncio.create_task(leadership.wait_to_lead(asyncio.Event()))
        while not await observer.fetchval(LEASE):
            pass
        acquiring.cancel()
        await asyncio.wait([acquiring])
        await leadership.release()
        assert not await observer.fetchval(LEASE)


def test_a_leader_whose_loop_hangs_is_replaced_and_learns_it_when_the_loop_turns_again(
    shared_database_url: str,
) -> None:
    hanging, replaced = threading.Event(), threading.Event()

    async def hang_while_leading() -> None:
        connection = await asyncpg.connect(shared_database_url, server_settings=NO_WAIT_FOR_DISK)
        try:
            leadership = Leadership(connection, 1, "the one that hangs")
            epoch = await leadership.wait_to_lead(asyncio.Event())
            assert epoch == 1
            keeping = asyncio.create_task(leadership.keep(epoch))
            await asyncio.sleep(0)
            hanging.set()
            replaced.wait(30)  # the process lives, its loop does not turn
            with pytest.raises(FencedError):
                await keeping
        finally:
            await connection.close()

    async def follow() -> None:
        async with connected(shared_database_url) as (connection,):
            while await connection.fetchval(LEASE):  # noqa: ASYNC110 - the database is what is waited for
                await asyncio.sleep(0.01)
            successor = Leadership(connection, NEVER, "its successor")
            assert await successor.wait_to_lead(asyncio.Event()) == 2

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(asyncio.run, hang_while_leading())
        try:
            assert hanging.wait(30)
            run(follow)
        finally:
            replaced.set()
        leader.result(30)


def test_a_server_in_recovery_is_refused_until_it_is_promoted(
    own_postgres: OwnPostgres, clean_broker: str, tmp_path: Path
) -> None:
    run(lambda: empty(own_postgres.url))
    harness = RelayHarness(own_postgres.url, clean_broker)
    harness.declare()
    harness.purge()
    harness.record([new_event("waiting")])
    data = Path(harness.value("SHOW data_directory"))
    own_postgres.stop()
    (data / "standby.signal").touch()
    own_postgres.start()
    with relay(own_postgres.url, clean_broker, tmp_path) as process:
        assert "promote" in str(process.wait_for("database_in_recovery", 2)["remedy"])
        assert harness.take("validation") == []
        assert not process.logged("leading")
        assert harness.value("SELECT pg_promote()")
        process.wait_for("leading")
        harness.wait_for_cursor(1)
    assert len(harness.take("validation")) == 1
