"""Children are killed in mid-step, and the totals are what Postgres says: each done delivery counted once."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from consumers.delivery.result import ATTEMPTED
from lab.stack.ports import free_port
from orders.model import Line
from orders.workflow import POOLS, steps_of
from outbox.envelope import Event
from runtime.settings import Settings
from tests.support.builders.step_harness import StepHarness, with_step_harness
from tests.support.probes.broker_queues import Queues
from tests.support.probes.database import Asyncpg, connected
from tests.support.probes.metrics_page import metric, samples, totals
from tests.support.processes.relay import relay
from tests.support.processes.worker import Worker, apply_topology, wait_until_it_consumes, worker

ORDERS = 20
ROUNDS = 2
CHILDREN = POOLS["local"].concurrency
STEP = "reserve_inventory"

# Backends of children born after a moment that wait for the product which the test holds.
_AT_THE_LOCK = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
  AND application_name = 'waybill-worker-local' AND backend_start > $1"""

# What the inbox has as done; the audit's own rows are its inbox.
_TRUTH = """
SELECT consumer, count(*) AS done FROM outbox.deliveries WHERE state = 'done' GROUP BY 1
UNION ALL SELECT 'audit', count(*) FROM audit_log"""


@pytest.fixture
def life(settings: Settings, database_url: str, amqp_url: str) -> Settings:
    """A local worker that serves its figures, on the real broker and a database of its own."""
    changes = {
        "database_url": database_url,
        "amqp_url": amqp_url,
        "delivery_lease_seconds": 1.1,
        "worker_http_port": free_port(),
    }
    real = settings.model_copy(update=changes)
    apply_topology(real)
    return real


class Watched:
    """The worker's totals, which may only grow."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._seen = totals(port)

    def read(self) -> None:
        now = totals(self._port)
        assert [name for name, value in self._seen.items() if now.get(name, -1) < value] == []
        self._seen = now


@contextmanager
def stopped(children: list[int]) -> Iterator[None]:
    """Stop the children for the body; those still alive continue after it."""
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            with suppress(ProcessLookupError):  # killed inside, and buried already
                os.kill(child, signal.SIGCONT)


async def kill_all_in_mid_step(observer: Asyncpg, started: Worker, watched: Watched, born_after: datetime) -> datetime:
    """SIGKILL every child while each is at the lock, and can be nowhere else; the moment after it.

    Each is stopped before it is checked: a child between a commit and its report continues.
    """
    while True:
        watched.read()
        children = started.children()
        if len(children) == CHILDREN:
            with stopped(children):
                if await observer.fetchval(_AT_THE_LOCK, born_after) == CHILDREN:
                    for child in children:
                        os.kill(child, signal.SIGKILL)
                    moment: datetime = await observer.fetchval("SELECT clock_timestamp()")
                    return moment
        await asyncio.sleep(0.05)  # the poll's pace; what is waited for is the lock


async def kill_in_rounds(life: Settings, sku: str, started: Worker) -> None:
    """Hold the product that every order wants, and kill each child that waits for it."""
    port, watched = life.worker_http_port, Watched(life.worker_http_port)
    # Two connections: a transaction sees the same activity for as long as it lasts.
    async with asyncio.timeout(90), connected(life.database_url, 2) as (holder, observer), holder.transaction():
        await holder.execute("SELECT 1 FROM products WHERE sku = $1 FOR UPDATE", sku)
        moment = await observer.fetchval("SELECT pg_postmaster_start_time()")
        for _ in range(ROUNDS):
            moment = await kill_all_in_mid_step(observer, started, watched, moment)
            busy = metric(port, "waybill_worker_busy_seconds_total")
            await asyncio.to_thread(
                started.wait_until, partial(_busier, port, busy), "time of deliveries without an end"
            )
    watched.read()


def _busier(port: int, before: float) -> bool:
    return metric(port, "waybill_worker_busy_seconds_total") > before


async def _truth(harness: StepHarness) -> dict[str, int]:
    rows = {row["consumer"]: row["done"] for row in await harness.sql(_TRUTH)}
    return {step.name: rows.get(step.queue, 0) for step in steps_of("local")}


def _counted(port: int, name: str, **labels: str) -> dict[str, float]:
    return {step.name: metric(port, name, step=step.name, **labels) for step in steps_of("local")}


def test_totals_are_the_truth_although_children_are_killed_in_mid_step(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    async def make(harness: StepHarness) -> str:
        sku = await harness.product(100)
        for _ in range(ORDERS):
            await harness.place_order(Line(sku, 1, Decimal(14)))
        return sku

    sku, port = with_step_harness(life, make), life.worker_http_port
    with worker("local", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "local")
        with relay(life.database_url, life.amqp_url, tmp_path):
            asyncio.run(kill_in_rounds(life, sku, started))
            expected = {"validate_order": ORDERS, STEP: ORDERS, "record_audit": 3 * ORDERS}
            started.wait_until(
                lambda: expected.items() <= with_step_harness(life, _truth).items(), "every order reserved"
            )
            started.wait_until(lambda: with_step_harness(life, _nothing_waits) and not _at_work(queues, port), "quiet")

        truth = with_step_harness(life, _truth)
        # A delivery that ended since the last update is not exported yet. Its effect is counted last.
        started.wait_until(lambda: _effects(port) >= sum(truth.values()), "every done delivery counted")
        assert _counted(port, "waybill_deliveries_total", outcome="done") == truth
        assert _counted(port, "waybill_commit_to_effect_seconds_count") == truth
        attempts = [_counted(port, "waybill_deliveries_total", outcome=outcome.value) for outcome in ATTEMPTED]
        assert _counted(port, "waybill_step_seconds_count") == {
            step.name: sum(counts[step.name] for counts in attempts) for step in steps_of("local")
        }
        assert metric(port, "waybill_deliveries_total", outcome="dead") == 0
        assert metric(port, "waybill_worker_reports_lost_total") == 0


def _effects(port: int) -> float:
    return sum(_counted(port, "waybill_commit_to_effect_seconds_count").values())


async def _nothing_waits(harness: StepHarness) -> bool:
    return not await harness.value("SELECT count(*) FROM outbox.scheduled")


def _at_work(queues: Queues, port: int) -> float:
    ready = sum(queues.depth(step.queue) for step in steps_of("local"))
    return ready + metric(port, "waybill_deliveries_running")


async def let_one_end_after_sigterm(life: Settings, started: Worker, queues: Queues) -> None:
    """SIGTERM while two children are at a lock each; the first is let go, and must be counted while the other waits."""
    port = life.worker_http_port
    orders = await asyncio.to_thread(with_step_harness, life, _two_orders)

    def counted() -> bool:
        return metric(port, "waybill_deliveries_total", step=STEP, outcome="done") == 1

    def one_runs() -> bool:
        return metric(port, "waybill_deliveries_running", step=STEP) == 1

    async with asyncio.timeout(90), connected(life.database_url, 3) as (first, second, observer):
        held = [holder.transaction() for holder in (first, second)]
        for holder, transaction, (sku, event) in zip((first, second), held, orders, strict=True):
            await transaction.start()
            await holder.execute("SELECT 1 FROM products WHERE sku = $1 FOR UPDATE", sku)
            queues.publish_event("inventory", event)
        await at_the_lock(observer, len(held))
        started.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(started.wait_for_line, "worker_stopping")
        assert not counted()
        await held[0].rollback()
        await asyncio.to_thread(started.wait_until, counted, "the delivery that ended after SIGTERM, counted")
        await asyncio.to_thread(started.wait_until, one_runs, "one delivery that runs on")
        await held[1].rollback()
    assert await asyncio.to_thread(started.process.wait, 30) == 0


async def at_the_lock(observer: Asyncpg, children: int) -> None:
    """Return once so many wait for a product."""
    while True:
        if await observer.fetchval(_AT_THE_LOCK, datetime.fromtimestamp(0, UTC)) == children:
            return
        await asyncio.sleep(0.05)  # the poll's pace; what is waited for is the lock


async def _two_orders(harness: StepHarness) -> list[tuple[str, Event]]:
    skus = [await harness.product(100) for _ in range(2)]
    return [(sku, (await harness.validated(Line(sku, 1, Decimal(14))))[1]) for sku in skus]


async def test_a_delivery_that_ends_after_a_worker_was_asked_to_stop_is_counted_while_it_waits_for_the_rest(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    with worker("local", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "local")
        page = {started.process.pid}
        started.wait_until(lambda: started.listeners_to(life.worker_http_port) == page, "the worker's page")
        await let_one_end_after_sigterm(life, started, queues)
    assert not started.count("Error in timer")


def test_a_child_that_takes_a_dead_ones_place_lets_go_of_the_port(
    life: Settings, queues: Queues, tmp_path: Path
) -> None:
    """It is forked while the page is served: the port of a killed main process would stay taken for as long as it."""
    port = life.worker_http_port
    with worker("local", life, tmp_path) as started:
        wait_until_it_consumes(started, queues, "local")
        started.wait_until(lambda: started.listeners_to(port) == {started.process.pid}, "its own page")
        before = set(started.children())
        for child in before:
            os.kill(child, signal.SIGKILL)
        started.wait_until(
            lambda: (
                len(set(started.children()) - before) == CHILDREN
                and started.listeners_to(port) == {started.process.pid}
            ),
            "new children, none of which has the page's socket",
        )
        assert next(samples(port))
