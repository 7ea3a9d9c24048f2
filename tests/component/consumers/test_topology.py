"""What `topology apply` makes of a broker, and what it says when the broker holds something else."""

import asyncio
from types import SimpleNamespace

import pytest
from kombu import Connection

from consumers import topology
from consumers.topology import TopologyError
from consumers.worker.app import make_celery
from consumers.worker.queue_binding import BindQueues
from orders.events import EVENT_TYPES
from orders.workflow import BY_QUEUE, STEPS, UNROUTED_QUEUE, required_queues
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, step_harness
from tests.support.probes.broker_queues import Queues

KEEPING_QUEUE: dict[str, object] = dict(topology.keeping_queue("any", "any").queue_arguments or {})
SAP_QUEUE: dict[str, object] = dict(topology.step_queue(BY_QUEUE["sap"], "orders.events").queue_arguments or {})


@pytest.fixture
def topology_settings(steps_database_url: str, amqp_url: str) -> Settings:
    return Settings(database_url=steps_database_url, amqp_url=amqp_url)


async def test_applying_twice_changes_nothing_and_names_what_stands(
    topology_settings: Settings, queues: Queues
) -> None:
    first = await topology.apply(topology_settings)
    queues.publish("sap", b"kept", {})
    assert await topology.apply(topology_settings) == first
    assert set(first.queues) == {UNROUTED_QUEUE, *(q for step in STEPS for q in (step.queue, step.dead_letter_queue))}
    assert queues.depth("sap") == 1


async def test_the_required_queues_are_written_down_for_the_relay(topology_settings: Settings) -> None:
    async def required(harness: StepHarness) -> set[str]:
        rows = await harness.sql("SELECT queue FROM outbox.destinations")
        return {row["queue"] for row in rows}

    for _ in range(2):
        await topology.apply(topology_settings)
        async with step_harness(topology_settings) as harness:
            assert await required(harness) == set(required_queues())


@pytest.mark.parametrize(
    ("queue", "arguments", "named"),
    [
        ("sap", SAP_QUEUE | {"x-delivery-limit": 3}, "x-delivery-limit"),
        ("sap", SAP_QUEUE | {"x-overflow": "drop-head"}, "x-overflow"),
        ("sap.dlq", KEEPING_QUEUE | {"x-delivery-limit": 3}, "x-delivery-limit"),
        (UNROUTED_QUEUE, KEEPING_QUEUE | {"x-overflow": "drop-head"}, "x-overflow"),
    ],
)
async def test_a_queue_with_other_arguments_is_named_with_the_argument_and_left_alone(
    topology_settings: Settings, queues: Queues, queue: str, arguments: dict[str, object], named: str
) -> None:
    queues.channel.queue_declare(queue, durable=True, arguments=arguments)
    queues.publish(queue, b"precious", {})
    with pytest.raises(TopologyError, match=rf"(?s)^'{queue}' exists with other arguments.*{named}") as raised:
        await topology.apply(topology_settings)
    assert "waybill topology apply" in str(raised.value)
    assert queues.depth(queue) == 1


async def test_an_event_exchange_with_other_arguments_is_named(topology_settings: Settings, queues: Queues) -> None:
    queues.channel.exchange_declare("orders.events", "topic", durable=True)
    with pytest.raises(TopologyError, match=r"'orders.events' exists with other arguments.*alternate-exchange"):
        await topology.apply(topology_settings)


@pytest.mark.parametrize("event_type", list(EVENT_TYPES))
def test_an_event_reaches_the_queues_of_the_steps_that_listen_to_it_and_no_other(
    applied: Queues, event_type: str
) -> None:
    applied.channel.basic_publish("orders.events", event_type, b"{}")
    expected = {step.queue for step in STEPS if event_type in step.listens_to}
    assert "audit" in expected
    assert {name for name in (*(step.queue for step in STEPS), UNROUTED_QUEUE) if applied.depth(name)} == expected


@pytest.mark.parametrize("key", ["order.teleported", "order", "order.placed.twice", ""])
def test_an_event_without_a_listener_is_kept_in_the_queue_of_the_unrouted(applied: Queues, key: str) -> None:
    """Were audit bound by `#`, nothing would ever be unrouted, and a misspelt type would go unseen."""
    applied.channel.basic_publish("orders.events", key, b"{}")
    assert {name for name in (*(step.queue for step in STEPS), UNROUTED_QUEUE) if applied.depth(name)} == {
        UNROUTED_QUEUE
    }


@pytest.fixture
def applied(topology_settings: Settings, queues: Queues) -> Queues:
    """A broker with the whole topology and empty queues."""
    asyncio.run(topology.apply(topology_settings))
    return queues


async def test_a_worker_binds_its_queues_at_each_connect_and_makes_none(
    topology_settings: Settings, queues: Queues
) -> None:
    """A queue that came back without its bindings would miss every event, and nothing else would tell."""
    await topology.apply(topology_settings)
    app = make_celery(topology_settings, "email")
    exchange = topology_settings.event_exchange
    queues.channel.queue_unbind("email", exchange, "order.synced")

    assert [(queue.name, queue.no_declare) for queue in app.conf.task_queues] == [("email", True)]
    with Connection(topology_settings.amqp_url) as connection:
        BindQueues(SimpleNamespace(steps=[])).start(SimpleNamespace(app=app, connection=connection))

    queues.channel.basic_publish(exchange, "order.synced", b"for email")
    queues.wait_for("email", 1)
