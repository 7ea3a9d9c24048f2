"""A worker's life: it starts late, stops in good order, loses a child; no message is lost and no effect doubled."""

import asyncio
import os
import signal
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from consumers.worker.child import UNUSABLE_PAUSE_SECONDS
from ops.doctor.broker_client import connection, queue_states
from orders.model import Line, Order, Status
from orders.workflow import POOLS
from outbox.envelope import Event
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, with_step_harness
from tests.support.probes.broker_queues import Queues
from tests.support.processes.sandboxes import Sap
from tests.support.processes.worker import Worker, apply_topology, wait_until_it_consumes, worker

ORDERS = 12
ON_A_FULL_DISK = (
    "-c",
    "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2); from ops.cli.main import main; main()",
)
UNUSABLE = ("-m", "tests.support.processes.unusable_worker")
_ENDED_OR_DUE = """SELECT EXISTS (SELECT 1 FROM orders WHERE id = :order AND status = 'synced')
    OR EXISTS (SELECT 1 FROM outbox.scheduled WHERE event_id = :id AND due_at < clock_timestamp())"""


@pytest.fixture
def life(settings: Settings, amqp_url: str) -> Settings:
    """Settings of a worker on the real broker, with the topology applied."""
    real = settings.model_copy(update={"amqp_url": amqp_url, "delivery_lease_seconds": 2.0})
    apply_topology(real)
    return real


def _until(started: Worker, settings: Settings, statement: str, value: object, what: str, **values: object) -> None:
    async def read(harness: StepHarness) -> bool:
        return bool(await harness.value(statement, **values) == value)

    started.wait_until(lambda: with_step_harness(settings, read), what)


_RESERVED = "SELECT count(*) FROM reservations WHERE sku = :sku"
_WAITING = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
              AND wait_event_type = 'Lock' AND application_name = 'waybill-worker-local'"""


async def _orders_of(harness: StepHarness, sku: str) -> list[Event]:
    return [(await harness.validated(Line(sku, 1, Decimal(14))))[1] for _ in range(ORDERS)]


def test_sigterm_finishes_what_is_at_work_and_gives_back_the_rest(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    """Every order wants the same product, whose row this test holds: three deliveries run, nine are only prefetched."""
    sku = with_step_harness(life, lambda harness: harness.product(100))
    for event in with_step_harness(life, lambda harness: _orders_of(harness, sku)):
        queues.publish_event("inventory", event)

    async def stop_in_mid_work(started: Worker) -> int:
        holder = await asyncpg.connect(life.database_url)
        try:
            async with holder.transaction():
                await holder.execute("SELECT 1 FROM products WHERE sku = $1 FOR UPDATE", sku)
                await asyncio.to_thread(
                    _until, started, life, _WAITING, POOLS["local"].concurrency, "every child at the lock"
                )
                assert queues.depth("inventory") == 0  # all the others are held by the worker
                started.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(started.wait_for_line, "worker_stopping")
        finally:
            await holder.close()
        return await asyncio.to_thread(started.process.wait, 30)

    with worker("local", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "local")
        assert asyncio.run(stop_in_mid_work(started)) == 0
        assert [line for line in started.lines() if "logger" not in line] == []
        (stopping,) = [line for line in started.lines() if line["event"] == "worker_stopping"]
        assert stopping["running"] == POOLS["local"].concurrency
    reserved = with_step_harness(life, lambda harness: harness.value(_RESERVED, sku=sku))
    assert POOLS["local"].concurrency <= reserved < ORDERS
    queues.wait_for("inventory", ORDERS - reserved)
    assert with_step_harness(life, lambda harness: harness.available(sku)) == 100 - reserved

    with worker("local", life, tmp_path) as successor:
        _until(successor, life, _RESERVED, ORDERS, "every order reserved", sku=sku)
    assert with_step_harness(life, lambda harness: harness.available(sku)) == 100 - ORDERS
    assert (queues.depth("inventory"), queues.depth("inventory.dlq")) == (0, 0)


def test_a_child_killed_in_mid_post_leaves_one_document_in_sap(
    life: Settings, queues: Queues, sap: Sap, tmp_path: Path
) -> None:
    """SAP commits although its client is dead; the message comes again, and finds the document after the lease.

    Celery may notice the dead child before the lease is over or only after it, up to 5 s later: then nothing is left to
    wait for, and the redelivery itself finds the document.
    """
    life = life.model_copy(update={"sap_timeout_seconds": 30.0})
    order, reserved = with_step_harness(life, lambda harness: harness.reserved())
    sap.faults(latency_ms=[2000, 2000])  # time to find the child, also on a busy machine
    port = urlsplit(sap.url).port
    assert port is not None
    with worker("sap", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "sap")
        queues.publish_event("sap", reserved)
        started.wait_until(lambda: sap.order(order.number)["posts"] == 1, "a POST that SAP has not answered")
        child = started.child_connected_to(port)
        assert child is not None
        os.kill(child, signal.SIGKILL)
        sap.wait_for("document_count", 1)
        _until(started, life, _ENDED_OR_DUE, value=True, what="the end of the lease", id=reserved.id, order=order.id)
        for waiting in with_step_harness(life, lambda harness: harness.scheduled(reserved)):
            assert waiting.event == reserved
            queues.publish_event("sap", waiting.event)  # in the relay's place
        synced = "SELECT count(*) FROM orders WHERE id = :id AND status = 'synced'"
        _until(started, life, synced, 1, "a synced order", id=order.id)
        assert started.process.poll() is None
    _has_one_document(life, sap, order)
    assert (queues.depth("sap"), queues.depth("sap.dlq")) == (0, 0)


def _has_one_document(life: Settings, sap: Sap, order: Order) -> None:
    booked = sap.order(order.number)
    assert (len(booked["documents"]), booked["posts"]) == (1, 1)
    synced = with_step_harness(life, lambda harness: harness.order(order.id))
    assert (synced.status, synced.sap_document) == (Status.SYNCED, booked["documents"][0])


def test_a_worker_whose_queue_is_missing_says_so_and_waits_for_it(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    pool: str = "email"
    queues.channel.queue_delete("email")
    with worker(pool, life, tmp_path) as started:
        started.wait_for_line("queue_missing", 2)
        (line, *_) = [line for line in started.lines() if line["event"] == "queue_missing"]
        assert "'email'" in line["error"]
        assert line["remedy"] == "waybill topology apply"
        apply_topology(life)
        wait_until_it_consumes(started, queues, pool)
        assert started.stop() == 0


def test_children_that_cannot_open_what_they_need_take_no_delivery_and_those_after_them_do(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    sku = with_step_harness(life, lambda harness: harness.product(100))
    _, event = with_step_harness(life, lambda harness: harness.validated(Line(sku, 1, Decimal(14))))
    queues.publish_event("inventory", event)
    with worker("local", life, tmp_path, UNUSABLE, BROKEN=str(broken)) as started:
        wait_until_it_consumes(started, queues, "local")
        started.wait_for_line("child_unusable", POOLS["local"].concurrency + 1)  # one of them in another's place
        unusable = [line for line in started.lines() if line["event"] == "child_unusable"]
        assert "Too many open files" in unusable[0]["error"]
        first, replacement = (datetime.fromisoformat(unusable[n]["timestamp"]) for n in (0, POOLS["local"].concurrency))
        assert (replacement - first).total_seconds() >= UNUSABLE_PAUSE_SECONDS
        broken.unlink()
        _until(started, life, _RESERVED, 1, "the order reserved", sku=sku)
        started.wait_for_line("step_ended")
        (ended,) = [line for line in started.lines() if line["event"] == "step_ended"]
        assert (ended["outcome"], ended["attempt"]) == ("done", 1)
        assert started.stop() == 0
    assert (queues.depth("inventory"), queues.depth("inventory.dlq")) == (0, 0)


def test_a_delivery_is_done_and_garbage_refused_although_no_log_line_can_be_written(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    sku = with_step_harness(life, lambda harness: harness.product(100))
    _, event = with_step_harness(life, lambda harness: harness.validated(Line(sku, 1, Decimal(14))))
    with worker("local", life, tmp_path, ON_A_FULL_DISK) as started:
        started.wait_until(lambda: queues.consumers("inventory") == 1, "a consumer")
        queues.publish_event("inventory", event)
        _until(started, life, _RESERVED, 1, "the order reserved", sku=sku)
        queues.publish("inventory", b"garbage", None)
        queues.wait_for("inventory.dlq", 1)
        started.stop()  # whatever its exit code: at its end Python finds that it cannot write
    assert (queues.depth("inventory"), queues.depth("inventory.dlq")) == (0, 1)
    queues.channel.queue_purge("inventory.dlq")


def test_a_worker_declares_nothing_for_delayed_delivery(life: Settings, queues: Queues, tmp_path: Path) -> None:
    with worker("invoice", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "invoice")
        with connection(life.amqp_url) as link:
            delayed = [f"celery_delayed_{level}" for level in (0, 27)]
            assert queue_states(link, delayed) == dict.fromkeys(delayed)
        assert not started.count("Traceback")
