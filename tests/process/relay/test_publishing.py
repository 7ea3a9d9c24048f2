"""What the relay puts into RabbitMQ, where, and when the cursor moves."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import amqp
import pytest

from lab.tcp_proxy.proxy import proxied
from ops.doctor.broker_client import connection
from orders.workflow import BY_QUEUE
from outbox.envelope import decode, encode_headers
from outbox.schedule import schedule
from tests.support.builders.events import new_event
from tests.support.probes.database import engine_of, run
from tests.support.probes.relay_harness import (
    EVENT_EXCHANGE,
    RelayHarness,
    assert_all_there_in_order,
    first_copies,
    ids,
    numbered,
)
from tests.support.processes.relay import relay

PERSISTENT = 2


@pytest.fixture
def own_queues(harness: RelayHarness) -> Iterator[list[str]]:
    """Names of queues that a test declares itself; deleted afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        harness.delete_queue(name)


def test_an_event_arrives_in_every_queue_bound_to_its_type_as_a_cloud_event(
    harness: RelayHarness, tmp_path: Path
) -> None:
    event = new_event("order-1", type="order.synced", traceparent="00-a-b-01", data='{"größe":1}'.encode())
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.record([event])
        harness.wait_for_cursor(1)
    bound = {queue for queue, step in BY_QUEUE.items() if "order.synced" in step.listens_to}
    assert bound == {"email", "invoice", "analytics", "audit"}
    assert harness.depths() == dict.fromkeys(bound, 1)
    for queue in bound:
        (message,) = harness.take(queue)
        assert isinstance(message, amqp.Message)
        assert message.delivery_info["routing_key"] == "order.synced"
        assert message.delivery_info["exchange"] == EVENT_EXCHANGE
        assert message.properties["delivery_mode"] == PERSISTENT
        assert message.properties["message_id"] == str(event.id)
        assert message.properties["content_type"] == "application/json"
        assert message.headers is not None
        ours = {name: value for name, value in message.headers.items() if name != "x-delivery-count"}
        assert ours == encode_headers(event)
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        assert decode(message.headers, body) == event


def test_an_event_that_no_queue_listens_to_is_kept_as_unrouted(harness: RelayHarness, tmp_path: Path) -> None:
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.record([new_event(type="order.unheard_of")])
        harness.wait_for_cursor(1)
    assert harness.depths() == {"unrouted": 1}


def test_an_event_addressed_to_one_queue_goes_there_only_with_its_generation(
    harness: RelayHarness, tmp_path: Path
) -> None:
    event = new_event(generation=3)
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.record([event], destination="sap")
        harness.wait_for_cursor(1)
    assert harness.depths() == {"sap": 1}
    (message,) = harness.take("sap")
    assert message.headers is not None
    assert message.headers["cloudEvents:generation"] == 3


def test_the_cursor_moves_page_by_page_and_only_past_what_is_confirmed(harness: RelayHarness, tmp_path: Path) -> None:
    with (
        proxied(harness.amqp_url) as (through, proxy),
        relay(harness.database_url, through, tmp_path, page_size=10, window=1000) as process,
    ):
        process.wait_for("leading")
        harness.record([new_event("first")])
        harness.wait_for_cursor(1)
        proxy.hold_answers()
        events = numbered(35, subjects=35)
        harness.record(events)
        messages = harness.take_until("validation", 36)[1:]  # they are in the queue, and the relay does not know
        assert harness.confirmed() == 1
        proxy.release_answers()
        harness.wait_for_cursor(36)
    assert_all_there_in_order(events, messages)
    log = harness.rows("SELECT events, first_id, last_id, sent_at, confirmed_at FROM outbox.pages ORDER BY page")
    assert [row["events"] for row in log] == [1, 10, 10, 10, 5]
    assert all(before["last_id"] < after["first_id"] for before, after in pairwise(log))
    assert all(row["sent_at"] < row["confirmed_at"] for row in log)


def test_while_a_required_queue_is_missing_nothing_is_published_and_the_log_says_which(
    harness: RelayHarness, tmp_path: Path
) -> None:
    harness.delete_queue("sap")
    events = numbered(20, subjects=5)
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        assert process.wait_for("required_queues_missing")["queues"] == ["sap"]
        harness.record(events)
        # Two more checks of the queues later the relay has long polled the outbox.
        process.wait_for("required_queues_missing", len(process.logged("required_queues_missing")) + 2)
        assert harness.confirmed() == 0
        assert harness.take("validation") == []
        harness.declare()
        harness.wait_for_cursor(20)
    for queue in ("validation", "audit"):
        assert sorted(ids(harness.take(queue))) == sorted(str(event.id) for event in events)
        assert_all_there_in_order(events, harness.taken[queue])


def test_without_any_declared_destination_nothing_is_published(harness: RelayHarness, tmp_path: Path) -> None:
    harness.require([])
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        harness.record([new_event()])
        assert process.wait_for("no_required_queues", 4)["remedy"] == "waybill topology apply"
        assert harness.confirmed() == 0
        assert harness.depths() == {}
        harness.require(["validation", "audit"])
        harness.wait_for_cursor(1)


def test_what_the_broker_refuses_is_published_again_until_it_is_taken(
    harness: RelayHarness, own_queues: list[str], tmp_path: Path
) -> None:
    own_queues.append("test.full")
    with connection(harness.amqp_url) as link:
        channel = link.channel()
        full = {"x-max-length": 2, "x-overflow": "reject-publish"}
        channel.queue_declare("test.full", durable=True, auto_delete=False, arguments=full)
        channel.queue_bind("test.full", EVENT_EXCHANGE, "order.placed")
    events = numbered(12, subjects=3)
    with relay(harness.database_url, harness.amqp_url, tmp_path) as process:
        harness.record(events)
        assert process.wait_for("event_not_confirmed")["outcome"] == "nacked"
        assert harness.confirmed() == 0
        harness.take_until("test.full", 12)
        harness.wait_for_cursor(12)
    for queue in ("test.full", "validation"):
        assert_all_there_in_order(events, harness.take(queue))


def test_a_scheduled_message_is_published_when_it_is_due_and_not_before(harness: RelayHarness, tmp_path: Path) -> None:
    now, soon = new_event("a", generation=2), new_event("b", generation=3)
    due_at = datetime.now(UTC) + timedelta(seconds=1.5)

    async def put() -> None:
        async with engine_of(harness.database_url) as engine, engine.begin() as tx:
            await schedule(tx, soon, "email", due_at)
            await schedule(tx, now, "sap", due_at - timedelta(hours=1))

    run(put)
    with relay(harness.database_url, harness.amqp_url, tmp_path):
        harness.wait_for_cursor(2)
    assert harness.depths() == {"sap": 1, "email": 1}
    assert ids(harness.take("sap")) == [str(now.id)]
    assert ids(harness.take("email")) == [str(soon.id)]
    recorded = harness.rows("SELECT event_id, recorded_at FROM outbox.events ORDER BY id")
    assert [row["event_id"] for row in recorded] == [now.id, soon.id]
    assert recorded[1]["recorded_at"] >= due_at
    assert harness.value("SELECT count(*) FROM outbox.scheduled") == 0


def test_a_page_larger_than_the_window_is_carried_a_few_at_a_time(harness: RelayHarness, tmp_path: Path) -> None:
    events = numbered(50, subjects=50)
    harness.record(events)
    with relay(harness.database_url, harness.amqp_url, tmp_path, page_size=100, window=3):
        harness.wait_for_cursor(50)
    assert sorted(first_copies(harness.take("validation"))) == sorted(str(event.id) for event in events)
