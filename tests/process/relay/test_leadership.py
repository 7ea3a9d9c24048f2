"""One relay publishes, another waits, and whatever becomes of the one, the other follows it soon."""

import signal
from pathlib import Path

from lab.tcp_proxy.proxy import proxied
from tests.support.builders.events import new_event
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order, numbered
from tests.support.probes.waking_clock import waking_clock
from tests.support.processes.relay import relay
from tests.support.servers.private_servers import OwnPostgres

TAKE_OVER_SECONDS = 5.0
DEFAULT_TERM = 3
LONGER_TERM = 4
NEVER = 3600  # a lease that no test waits out


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


def test_a_leader_asked_to_stop_hands_over_at_once_whatever_the_lease(harness: RelayHarness, tmp_path: Path) -> None:
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


def test_a_server_in_recovery_is_refused_until_it_is_promoted(
    private_database_harness: RelayHarness, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    harness = private_database_harness
    harness.record([new_event("waiting")])
    data = Path(harness.value("SHOW data_directory"))
    with own_postgres.in_recovery(data), relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        assert "promote" in str(process.wait_for("database_in_recovery", 2)["remedy"])
        assert harness.take("validation") == []
        assert not process.logged("leading")
        assert harness.value("SELECT pg_promote()")
        process.wait_for("leading")
        harness.wait_for_cursor(1)
    assert len(harness.take("validation")) == 1
