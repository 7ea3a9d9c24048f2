"""A worker's circuit: open while SAP is unreachable, kept open over a lost broker, and no obstacle to a stop."""

import asyncio
from pathlib import Path

import pytest

from lab.tcp_proxy.proxy import proxied
from orders.model import Order
from outbox.envelope import Event
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, again, step_harness, with_step_harness
from tests.support.probes.broker_queues import Queues
from tests.support.processes.relay import relay
from tests.support.processes.sandboxes import Sap
from tests.support.processes.worker import apply_topology, wait_until_it_consumes, worker

ORDERS = 30
SAP_STEP, EMAIL_STEP = "sync_order_to_sap", "send_confirmation_email"


@pytest.fixture
def life(settings: Settings, database_url: str, amqp_url: str) -> Settings:
    """A worker's settings on the real broker, with a database and a relay of its own."""
    changes = {"amqp_url": amqp_url, "database_url": database_url, "sap_retry_base_seconds": 0.5}
    real = settings.model_copy(update=changes)
    apply_topology(real)
    return real


def test_a_worker_takes_nothing_while_sap_is_away_and_goes_on_by_itself(
    life: Settings, queues: Queues, sap: Sap, tmp_path: Path
) -> None:
    """The orders wait in the broker; when SAP is back each has one document, and no attempt was counted."""

    sap.faults(outage=True)
    with worker("sap", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "sap")
        reserved = with_step_harness(life, lambda harness: _reserved(harness, ORDERS))
        with relay(life.database_url, life.amqp_url, tmp_path):
            started.wait_for_line("circuit_opened")
            started.wait_until(lambda: queues.consumers("sap") == 0, "no consumer")
            queues.wait_for("sap", ORDERS)  # also what was in hand is back
            answers = sap.ledger()["outage_answers"]
            sap.wait_for("outage_answers", answers + 2)  # it probes
            assert queues.depth("sap") == ORDERS
            assert started.count("circuit_opened") == 1
            sap.faults(outage=False)
            started.wait_for_line("circuit_closed")
            started.wait_until(lambda: with_step_harness(life, _synced) == ORDERS, "every order synced")
        assert started.stop() == 0

    assert with_step_harness(life, _attempts) == [1]
    booked = [document["order_id"] for document in sap.ledger()["documents"]]
    assert [booked.count(order.id.hex) for order, _ in reserved] == [1] * ORDERS
    assert (queues.depth("sap"), queues.depth("sap.dlq")) == (0, 0)


async def _synced(harness: StepHarness) -> int:
    return int(await harness.value("SELECT count(*) FROM orders WHERE status = 'synced'"))


async def _attempts(harness: StepHarness) -> list[int]:
    rows = await harness.sql("SELECT DISTINCT attempt FROM order_steps WHERE step = :step", step=SAP_STEP)
    return [row["attempt"] for row in rows]


def test_a_circuit_stays_open_over_a_lost_broker(life: Settings, queues: Queues, sap: Sap, tmp_path: Path) -> None:
    """The worker connects again and takes nothing, until SAP is back."""
    sap.faults(outage=True)
    reserved = with_step_harness(life, lambda harness: _reserved(harness, 2))
    with proxied(life.amqp_url) as (through, proxy):
        behind = life.model_copy(update={"amqp_url": through})
        with worker("sap", behind, tmp_path) as started:
            wait_until_it_consumes(started, queues, "sap")
            queues.publish_event("sap", reserved[0][1])
            started.wait_for_line("circuit_opened")
            started.wait_until(lambda: queues.consumers("sap") == 0, "no consumer")
            connected = started.count("Connected to")
            proxy.cut()
            started.wait_until(lambda: started.count("Connected to") > connected, "a new connection")
            queues.publish_event("sap", reserved[1][1])
            answers = sap.ledger()["outage_answers"]
            sap.wait_for("outage_answers", answers + 2)
            assert (queues.consumers("sap"), queues.depth("sap")) == (0, 1)
            sap.faults(outage=False)
            started.wait_for_line("circuit_closed")
            started.wait_until(lambda: with_step_harness(life, _synced) == 1, "the order that waited is synced")
            assert started.count("circuit_opened") == 1
            assert started.stop() == 0


async def _reserved(harness: StepHarness, orders: int) -> list[tuple[Order, Event]]:
    return [await harness.reserved() for _ in range(orders)]


async def test_a_worker_is_stopped_while_its_circuit_is_open(
    life: Settings, queues: Queues, sap: Sap, tmp_path: Path
) -> None:
    sap.faults(outage=True)
    async with step_harness(life) as harness:
        _, reserved = await harness.reserved()
    with worker("sap", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "sap")
        queues.publish_event("sap", reserved)
        started.wait_for_line("circuit_opened")
        assert started.stop() == 0
    (waiting,) = await _scheduled(life, reserved)
    assert waiting == again(reserved, 2)


async def _scheduled(life: Settings, event: Event) -> list[Event]:
    return await asyncio.to_thread(with_step_harness, life, lambda harness: _events(harness, event))


async def _events(harness: StepHarness, event: Event) -> list[Event]:
    return [waiting.event for waiting in await harness.scheduled(event)]
