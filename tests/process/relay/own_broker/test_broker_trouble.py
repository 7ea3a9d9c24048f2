"""A broker that is out of memory or disk, or restarts, is waited out: nothing lost, nothing out of order.

Waiting costs next to nothing: no messages beyond the window, no memory that grows with the backlog, no busy loop.
"""

import time
from pathlib import Path

from lab.stack.ports import free_port
from tests.support.builders.events import new_event
from tests.support.builders.steady_writer import writing
from tests.support.deadlines import wait_until
from tests.support.probes.metrics_page import metric
from tests.support.probes.process_usage import Usage, wait_until_steady
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order
from tests.support.processes.relay import relay
from tests.support.servers.private_servers import OwnRabbitMQ

UNHEARD_OF = "order.unheard_of"  # goes to the one queue `unrouted`, which is all that these tests need
PUBLISHED = "waybill_relay_published_total"
SETTLED = "waybill_relay_settled_total"
OPEN = "waybill_relay_open_events"
DATA = b'"%s"' % (b"x" * 5000)
BESIDE = 4000


def test_a_broker_out_of_memory_is_waited_out_without_growing_spinning_or_losing_the_lease(
    private_broker_harness: RelayHarness, own_rabbitmq: OwnRabbitMQ, tmp_path: Path
) -> None:
    port, window, open_events = free_port(), 1000, 2000
    bounds = {"window": window, "open_events": open_events}
    backlog = [new_event(f"later-{n % 500}", type=UNHEARD_OF, data=DATA) for n in range(open_events + BESIDE)]
    with relay(
        private_broker_harness.database_url,
        private_broker_harness.amqp_url,
        tmp_path,
        **bounds,
        http_port=port,
        lease_seconds=3,
    ) as process:
        process.wait_for("leading")
        with writing(private_broker_harness.database_url, "during", event_type=UNHEARD_OF) as (writer,):
            writer.wait_for(100)
            with own_rabbitmq.out_of_memory():
                process.wait_for("broker_blocks_publishing")
                during = writer.stop()
                private_broker_harness.record(
                    backlog[:open_events]
                )  # it holds all that it may hold before its memory is measured
                wait_until(lambda: metric(port, OPEN) >= window)
                wait_until_steady(lambda: metric(port, OPEN) + metric(port, PUBLISHED))
                usage = Usage(process.process)
                private_broker_harness.record(backlog[open_events:])
                time.sleep(1)
                usage.assert_next_to_nothing(BESIDE * len(DATA) / 4)  # the backlog grew by more than its data
                assert metric(port, OPEN) <= open_events
                assert metric(port, PUBLISHED) - metric(port, SETTLED) <= window
                private_broker_harness.wait_until(
                    "SELECT expires_at > clock_timestamp() AND epoch = 1 FROM outbox.leases"
                )
                assert private_broker_harness.confirmed() < len(during) + len(backlog)
        private_broker_harness.wait_for_cursor(len(during) + len(backlog))
        process.wait_for("broker_unblocks_publishing")
        assert not process.logged("session_ended")
    messages = private_broker_harness.take("unrouted")
    assert len(messages) == len(during) + len(backlog)  # nothing had to be repeated
    assert_all_there_in_order(during + backlog, messages)


def test_a_broker_out_of_disk_is_waited_out(
    private_broker_harness: RelayHarness, own_rabbitmq: OwnRabbitMQ, tmp_path: Path
) -> None:
    with relay(
        private_broker_harness.database_url, private_broker_harness.amqp_url, tmp_path, page_size=20, window=60
    ) as process:
        process.wait_for("leading")
        with writing(private_broker_harness.database_url, "during", event_type=UNHEARD_OF) as (writer,):
            writer.wait_for(50)
            with own_rabbitmq.out_of_disk():
                assert "disk" in process.wait_for("broker_blocks_publishing")["error"]
                writer.wait_for(200)
                assert private_broker_harness.confirmed() < len(writer.committed)
            events = writer.stop()
        private_broker_harness.wait_for_cursor(len(events))
        assert not process.logged("session_ended")
    assert_all_there_in_order(events, private_broker_harness.take("unrouted"))


def test_a_broker_that_dies_in_mid_flow_and_starts_again_is_found_again_without_hurry_and_nothing_is_lost(
    private_broker_harness: RelayHarness, own_rabbitmq: OwnRabbitMQ, tmp_path: Path
) -> None:
    with (
        relay(
            private_broker_harness.database_url, private_broker_harness.amqp_url, tmp_path, page_size=20, window=100
        ) as process,
        writing(private_broker_harness.database_url, "a", "b", event_type=UNHEARD_OF) as writers,
    ):
        private_broker_harness.wait_for_cursor(200)
        with own_rabbitmq.dead():
            went = time.monotonic()
            process.wait_for("session_ended")
            for writer in writers:
                writer.wait_for(100)
        generations, away = len(process.logged("session_ended")), time.monotonic() - went
        assert generations <= 6 + away / 3, (
            f"{generations} in {away:.1f} s"
        )  # pauses of 0.2, 0.4, 0.8, 1.6, 3.2, then 5 s
        for writer in writers:
            writer.wait_for(100)
        events = [event for writer in writers for event in writer.stop()]
        private_broker_harness.wait_for_cursor(len(events))
    assert_all_there_in_order(events, private_broker_harness.take("unrouted"))
