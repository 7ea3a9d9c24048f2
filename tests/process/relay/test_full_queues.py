"""A queue that stays full holds back its own events; all others overtake them, up to a bound.

The bound is a setting, which limits the memory and what a crash repeats. The pause before a retry grows.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stack.ports import free_port
from ops.doctor.broker_client import connection
from tests.support.builders.events import new_event
from tests.support.probes.metrics_page import metric
from tests.support.probes.process_usage import Usage, wait_until_steady
from tests.support.probes.relay_harness import RelayHarness, assert_all_there_in_order
from tests.support.processes.relay import relay

UNHEARD_OF = "order.unheard_of"
FULL = "test.full"
OPEN_EVENTS, PAGE = 600, 50


@pytest.fixture
def full_queue(harness: RelayHarness) -> Iterator[str]:
    """A queue that takes a few messages and refuses all others."""
    arguments = {"x-queue-type": "quorum", "x-max-length": 3, "x-overflow": "reject-publish"}
    with connection(harness.amqp_url) as link:
        link.channel().queue_declare(FULL, durable=True, auto_delete=False, arguments=arguments)
    yield FULL
    harness.delete_queue(FULL)


def test_a_queue_that_stays_full_holds_back_its_own_events_and_of_others_no_more_than_the_bound(
    harness: RelayHarness, full_queue: str, tmp_path: Path
) -> None:
    port = free_port()
    addressed = [new_event(f"order-{n % 4}") for n in range(40)]
    others = [new_event(f"order-{n % 90}", type=UNHEARD_OF) for n in range(2000) if n % 90 >= 4]
    settings = {"page_size": PAGE, "window": 200, "open_events": OPEN_EVENTS, "http_port": port}
    with relay(harness.database_url, harness.amqp_url, tmp_path, **settings) as process:
        process.wait_for("leading")
        harness.record(addressed, full_queue)
        harness.record(others)
        process.wait_for("event_not_confirmed")
        # Others overtake what is refused, as far as the bound lets them.
        harness.take_until("unrouted", OPEN_EVENTS - PAGE - len(addressed))
        wait_until_steady(lambda: len(harness.take("unrouted")))
        assert metric(port, "waybill_relay_open_events") <= OPEN_EVENTS
        assert len(harness.taken["unrouted"]) <= OPEN_EVENTS
        assert harness.confirmed() < len(addressed)
        usage, published = Usage(process.process), metric(port, "waybill_relay_published_total")
        time.sleep(1)
        usage.assert_next_to_nothing()
        assert metric(port, "waybill_relay_published_total") - published < 4 * 10  # one a subject, ever less often
        harness.take_until(full_queue, len(addressed))
        harness.wait_for_cursor(len(addressed) + len(others))
        assert len(process.logged("event_not_confirmed")) < 20
        assert not process.logged("session_ended")
    assert_all_there_in_order(addressed, harness.take(full_queue))
    assert_all_there_in_order(others, harness.take("unrouted"))


def test_a_relay_asked_to_stop_does_not_wait_for_a_full_queue(
    harness: RelayHarness, full_queue: str, tmp_path: Path
) -> None:
    refused = [new_event(f"order-{n % 4}") for n in range(40)]
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        harness.record(refused, full_queue)
        process.wait_for("event_not_confirmed")
        assert process.stop() == 0
        assert process.logged("handed_over")
        assert not process.logged("session_ended")  # what a relay says that has waited in vain
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.take_until(full_queue, 40)
        harness.wait_for_cursor(40)
