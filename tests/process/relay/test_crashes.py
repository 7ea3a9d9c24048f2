"""Whatever dies, relay, connection, database session, each event arrives and first copies keep their order."""

import time
from collections import Counter
from pathlib import Path

from lab.tcp_proxy.proxy import proxied
from tests.support.builders.events import new_event
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order, ids, numbered
from tests.support.processes.relay import relay

ACK_FRAME_BYTES = 21  # AMQP 0-9-1: frame header 7, basic.ack 13, end 1
NEVER = 3600  # a lease that no test waits out
# Of a leader that is dead. A short term might end before, in a pause of the machine that keeps it from renewing.
TERM_IS_OVER = "UPDATE outbox.leases SET expires_at = clock_timestamp()"


def test_a_relay_killed_in_mid_stream_is_followed_by_one_that_misses_nothing(
    harness: RelayHarness, tmp_path: Path
) -> None:
    events = numbered(2500, subjects=150)
    with (
        proxied(harness.amqp_url) as (through, proxy),
        relay(harness.database_url, through, tmp_path, page_size=10, window=50, lease_seconds=1) as process,
    ):
        process.wait_for("leading")
        harness.record([new_event("warm-up", type="order.unheard_of")])
        harness.wait_for_cursor(1)
        # 40 acknowledgements for at most 50 messages each: it cannot get through, and dies with messages in flight.
        proxy.hold_answers(after_bytes=40 * ACK_FRAME_BYTES)
        harness.record(events)
        assert proxy.held.wait(60)
        process.kill()
        passed = harness.confirmed() - 1
        assert passed < len(events)
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.wait_for_cursor(1 + len(events))
    messages = harness.take("validation")
    assert_all_there_in_order(events, messages)
    copies = Counter(ids(messages))
    assert {copies[str(event.id)] for event in events[:passed]} <= {1}  # what the cursor had passed is not repeated
    assert harness.confirmed() == 1 + len(events)


def test_a_relay_asked_to_stop_leaves_nothing_in_flight_and_its_successor_repeats_nothing(
    harness: RelayHarness, tmp_path: Path
) -> None:
    events = numbered(2500, subjects=200)
    harness.record(events)
    with relay(harness.database_url, harness.amqp_url, tmp_path, page_size=20, window=100) as process:
        harness.wait_for_cursor(1)
        asked = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - asked < 15
        assert process.logged("handed_over")
        assert not process.logged("session_ended")
    carried = harness.take("validation")
    assert len(carried) == harness.confirmed()
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.wait_for_cursor(len(events))
    messages = harness.take("validation")
    assert len(messages) == len(events)
    assert_all_there_in_order(events, messages)


def test_a_stopped_relay_hands_over_at_once_and_an_idle_one_stops_too(harness: RelayHarness, tmp_path: Path) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as process:
        process.wait_for("leading")
        assert process.stop() == 0
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as process:
        assert process.wait_for("leading")["epoch"] == 2


def test_a_relay_that_stands_by_stops_when_asked(harness: RelayHarness, tmp_path: Path) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as leader:
        leader.wait_for("leading")
        with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as standby:
            standby.wait_for("standing_by")
            assert standby.stop() == 0
            assert not standby.logged("leading")


def test_a_cut_connection_to_the_broker_is_made_again_and_nothing_is_lost(
    harness: RelayHarness, tmp_path: Path
) -> None:
    events = numbered(1500, subjects=100)
    with (
        proxied(harness.amqp_url) as (through, proxy),
        relay(harness.database_url, through, tmp_path, page_size=20, window=60) as process,
    ):
        process.wait_for("leading")
        for cut, start in enumerate(range(0, 1500, 500), start=1):
            before = harness.confirmed()
            harness.record(events[start : start + 500])
            harness.wait_for_cursor(before + 1)
            proxy.cut()
            assert "PublisherLostError" in str(process.wait_for("session_ended", cut)["error"])
            process.wait_for("leading", cut + 1)
        harness.wait_for_cursor(len(events))
    assert_all_there_in_order(events, harness.take("validation"))


def test_confirms_that_never_come_move_no_cursor_and_a_cut_makes_it_publish_again(
    harness: RelayHarness, tmp_path: Path
) -> None:
    with (
        proxied(harness.amqp_url) as (through, proxy),
        relay(harness.database_url, through, tmp_path) as process,
    ):
        process.wait_for("leading")
        harness.record([new_event("first")])
        harness.wait_for_cursor(1)
        proxy.hold_answers()
        events = numbered(20, subjects=20)
        harness.record(events)
        harness.take_until("validation", 21)
        assert harness.confirmed() == 1
        proxy.cut()
        proxy.release_answers()
        harness.wait_for_cursor(21)
    messages = harness.take("validation")[1:]
    assert sorted(ids(messages)) == sorted(2 * [str(event.id) for event in events])


def test_database_sessions_that_the_server_ends_are_made_again_and_nothing_is_lost(
    harness: RelayHarness, tmp_path: Path
) -> None:
    events = numbered(2000, subjects=100)
    with relay(harness.database_url, harness.amqp_url, tmp_path, page_size=20, window=60) as process:
        process.wait_for("leading")
        harness.record(events)
        harness.wait_for_cursor(1)
        harness.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'waybill-relay' AND datname = current_database()"
        )
        process.wait_for("session_ended")
        harness.wait_for_cursor(len(events))
    assert_all_there_in_order(events, harness.take("validation"))


def test_a_standby_takes_over_from_a_killed_leader(harness: RelayHarness, tmp_path: Path) -> None:
    events = numbered(400, subjects=40)
    with relay(harness.database_url, harness.amqp_url, tmp_path, lease_seconds=NEVER) as leader:
        assert leader.wait_for("leading")["epoch"] == 1
        with relay(harness.database_url, harness.amqp_url, tmp_path) as standby:
            standby.wait_for("standing_by")
            harness.record(events[:200])
            harness.wait_for_cursor(200)
            assert not standby.logged("leading")
            leader.kill()
            harness.record(events[200:])
            harness.rows(TERM_IS_OVER)
            assert standby.wait_for("leading")["epoch"] == 2
            harness.wait_for_cursor(400)
    messages = harness.take("validation")
    assert_all_there_in_order(events, messages)
    assert len(messages) == 400
