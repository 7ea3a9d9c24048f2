"""A local step that is delivered again claims its delivery before it runs, so that a poison message is found out."""

import asyncio
from dataclasses import replace

import pytest

from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from orders.model import Status
from orders.workflow import BY_NAME
from outbox.inbox import MAX_CLAIMS
from runtime.settings import Settings
from tests.support.builders.step_doubles import Failing, Pausing
from tests.support.builders.step_harness import again, step_harness

STEP, QUEUE = "validate_order", "validation"
MONTHS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outbox.deliveries'::regclass"
LEASE_OVER = "UPDATE outbox.deliveries SET lease_until = clock_timestamp() - interval '1 s' WHERE event_id = :id"


async def test_a_redelivery_runs_once_and_is_a_duplicate_afterwards(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        assert await harness.runner(STEP).deliver(placed, redelivered=True) is DeliveryResult.DONE
        assert await harness.runner(STEP).deliver(placed, redelivered=True) is DeliveryResult.DUPLICATE
        assert await harness.runner(STEP).deliver(placed) is DeliveryResult.DUPLICATE
        assert len(await harness.events(order, "order.validated")) == 1
        assert (await harness.shown(order, STEP))["attempt"] == 1


async def test_what_was_done_and_not_acknowledged_is_a_duplicate_when_it_comes_again(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        assert await harness.deliver(STEP, placed) is DeliveryResult.DONE
        assert await harness.runner(STEP).deliver(placed, redelivered=True) is DeliveryResult.DUPLICATE
        assert len(await harness.events(order, "order.validated")) == 1


async def test_an_audited_event_that_comes_again_is_kept_once_and_leaves_no_claim(settings: Settings) -> None:
    """Its row is its inbox row, and its one statement runs no code of ours that could kill a worker."""

    async with step_harness(settings) as harness:
        placed = await harness.event(await harness.place_order(), "order.placed")
        outcomes = [await harness.runner("record_audit").deliver(placed, redelivered=True) for _ in range(2)]
        assert outcomes == [DeliveryResult.DONE, DeliveryResult.DUPLICATE]
        assert await harness.value("SELECT count(*) FROM audit_log WHERE event_id = :id", id=placed.id) == 1
        assert await harness.delivery("audit", placed) is None


async def test_a_local_step_that_kills_its_workers_is_dead_lettered_at_the_fourth_claim(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        double = Pausing()

        async def begin_and_die(*, redelivered: bool) -> None:
            double.started.clear()
            killed = asyncio.create_task(harness.runner(STEP, double).deliver(placed, redelivered=redelivered))
            await double.started.wait()
            killed.cancel()
            await asyncio.gather(killed, return_exceptions=True)

        await begin_and_die(redelivered=False)
        assert await harness.delivery(QUEUE, placed) is None  # its transaction left no trace
        await begin_and_die(redelivered=True)
        assert await harness.runner(STEP, double).deliver(placed, redelivered=True) is DeliveryResult.BUSY
        (waiting,) = await harness.scheduled(placed)
        assert waiting.event == placed
        for _ in range(MAX_CLAIMS - 1):  # what comes back from the schedule is a new message to the broker
            await harness.sql(LEASE_OVER, id=placed.id)
            await begin_and_die(redelivered=False)
        await harness.sql(LEASE_OVER, id=placed.id)
        assert await harness.runner(STEP, double).deliver(placed) is DeliveryResult.DEAD

        row = await harness.inbox_row(QUEUE, placed)
        assert (row["state"], row["reason"], row["error_class"]) == ("dead", "killed_worker", "KilledWorkerError")
        assert (await harness.shown(order, STEP))["state"] == "dead"
        assert await harness.value("SELECT sap_document IS NULL FROM orders WHERE id = :id", id=order.id)
        double.may_end.set()
        assert (
            await harness.runner(STEP, double).deliver(again(placed, 2)) is DeliveryResult.DONE
        )  # replayed when it is mended


async def test_a_redelivery_that_fails_is_tried_again_like_any_other(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        double = Failing(RuntimeError("not today"))
        assert await harness.runner(STEP, double).deliver(placed, redelivered=True) is DeliveryResult.RETRIED
        double.error = None
        assert await harness.runner(STEP, double).deliver(again(placed, 2)) is DeliveryResult.DONE
        assert (await harness.order(order.id)).sap_document == "x"


async def test_a_redelivery_beyond_its_time_limit_is_tried_again(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        placed = await harness.event(await harness.place_order(), "order.placed")
        runner = StepRunner(replace(BY_NAME[STEP], time_limit_seconds=0.05), Pausing(), harness.ctx)
        assert await runner.deliver(placed, redelivered=True) is DeliveryResult.RETRIED
        assert (await harness.inbox_row(QUEUE, placed))["error"] == "not done within 0.05 s"


@pytest.mark.parametrize("redelivered", [False, True])
@pytest.mark.parametrize(("step", "kind"), [(STEP, "order.placed"), ("generate_invoice_pdf", "order.synced")])
async def test_an_event_older_than_the_inbox_is_rejected_and_has_no_effect(
    settings: Settings, database_url: str, step: str, kind: str, redelivered: bool
) -> None:
    """Its row finds no partition. It is unknown whether the event was done, so an operator must check."""

    async with step_harness(settings.model_copy(update={"database_url": database_url})) as harness:
        order, _ = await harness.synced()
        event = await harness.event(order, kind)
        for month in await harness.sql(MONTHS):
            await harness.sql(f"ALTER TABLE outbox.deliveries DETACH PARTITION {month['name']}")
        assert await harness.runner(step).deliver(event, redelivered=redelivered) is DeliveryResult.DEAD
        assert await harness.scheduled(event) == []
        assert (await harness.order(order.id)).status is Status.SYNCED
        assert (await harness.order(order.id)).invoice_number is None
