"""A local step that is delivered again claims its delivery before it runs, so that a poison message is found out."""

import asyncio
from dataclasses import replace

import pytest

from consumers.delivery.outcome import Outcome
from consumers.delivery.runner import StepRunner
from orders.model import Status
from orders.workflow import BY_NAME
from outbox.inbox import MAX_CLAIMS
from runtime.settings import Settings
from tests.support.builders.step_doubles import Failing, Pausing
from tests.support.builders.step_harness import a_workshop, again

STEP, QUEUE = "validate_order", "validation"
MONTHS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outbox.deliveries'::regclass"
LEASE_OVER = "UPDATE outbox.deliveries SET lease_until = clock_timestamp() - interval '1 s' WHERE event_id = :id"


async def test_a_redelivery_runs_once_and_is_a_duplicate_afterwards(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        order = await shop.place_order()
        placed = await shop.event(order, "order.placed")
        assert await shop.runner(STEP).deliver(placed, redelivered=True) is Outcome.DONE
        assert await shop.runner(STEP).deliver(placed, redelivered=True) is Outcome.DUPLICATE
        assert await shop.runner(STEP).deliver(placed) is Outcome.DUPLICATE
        assert len(await shop.events(order, "order.validated")) == 1
        assert (await shop.shown(order, STEP))["attempt"] == 1


async def test_what_was_done_and_not_acknowledged_is_a_duplicate_when_it_comes_again(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        order = await shop.place_order()
        placed = await shop.event(order, "order.placed")
        assert await shop.deliver(STEP, placed) is Outcome.DONE
        assert await shop.runner(STEP).deliver(placed, redelivered=True) is Outcome.DUPLICATE
        assert len(await shop.events(order, "order.validated")) == 1


async def test_an_audited_event_that_comes_again_is_kept_once_and_leaves_no_claim(settings: Settings) -> None:
    """Its row is its inbox row, and its one statement runs no code of ours that could kill a worker."""

    async with a_workshop(settings) as shop:
        placed = await shop.event(await shop.place_order(), "order.placed")
        outcomes = [await shop.runner("record_audit").deliver(placed, redelivered=True) for _ in range(2)]
        assert outcomes == [Outcome.DONE, Outcome.DUPLICATE]
        assert await shop.value("SELECT count(*) FROM audit_log WHERE event_id = :id", id=placed.id) == 1
        assert await shop.delivery("audit", placed) is None


async def test_a_local_step_that_kills_its_workers_is_given_up_at_the_fourth_claim(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        order = await shop.place_order()
        placed = await shop.event(order, "order.placed")
        reaction = Pausing()

        async def begin_and_die(*, redelivered: bool) -> None:
            reaction.begun.clear()
            killed = asyncio.create_task(shop.runner(STEP, reaction).deliver(placed, redelivered=redelivered))
            await reaction.begun.wait()
            killed.cancel()
            await asyncio.gather(killed, return_exceptions=True)

        await begin_and_die(redelivered=False)
        assert await shop.delivery(QUEUE, placed) is None  # its transaction left no trace
        await begin_and_die(redelivered=True)
        assert await shop.runner(STEP, reaction).deliver(placed, redelivered=True) is Outcome.BUSY
        (waiting,) = await shop.scheduled(placed)
        assert waiting.event == placed
        for _ in range(MAX_CLAIMS - 1):  # what comes back from the schedule is a new message to the broker
            await shop.sql(LEASE_OVER, id=placed.id)
            await begin_and_die(redelivered=False)
        await shop.sql(LEASE_OVER, id=placed.id)
        assert await shop.runner(STEP, reaction).deliver(placed) is Outcome.DEAD

        row = await shop.inbox_row(QUEUE, placed)
        assert (row["state"], row["reason"], row["error_class"]) == ("dead", "killed_worker", "KilledWorkerError")
        assert (await shop.shown(order, STEP))["state"] == "dead"
        assert await shop.value("SELECT sap_document IS NULL FROM orders WHERE id = :id", id=order.id)
        reaction.may_end.set()
        assert await shop.runner(STEP, reaction).deliver(again(placed, 2)) is Outcome.DONE  # replayed when it is mended


async def test_a_redelivery_that_fails_is_tried_again_like_any_other(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        order = await shop.place_order()
        placed = await shop.event(order, "order.placed")
        reaction = Failing(RuntimeError("not today"))
        assert await shop.runner(STEP, reaction).deliver(placed, redelivered=True) is Outcome.RETRIED
        reaction.error = None
        assert await shop.runner(STEP, reaction).deliver(again(placed, 2)) is Outcome.DONE
        assert (await shop.order(order.id)).sap_document == "x"


async def test_a_redelivery_beyond_its_time_limit_is_tried_again(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        placed = await shop.event(await shop.place_order(), "order.placed")
        runner = StepRunner(replace(BY_NAME[STEP], time_limit_seconds=0.05), Pausing(), shop.place)
        assert await runner.deliver(placed, redelivered=True) is Outcome.RETRIED
        assert (await shop.inbox_row(QUEUE, placed))["error"] == "not done within 0.05 s"


@pytest.mark.parametrize("redelivered", [False, True])
@pytest.mark.parametrize(("step", "kind"), [(STEP, "order.placed"), ("generate_invoice_pdf", "order.synced")])
async def test_an_event_older_than_the_inbox_is_rejected_and_has_no_effect(
    settings: Settings, database_url: str, step: str, kind: str, redelivered: bool
) -> None:
    """Its row finds no partition. Nobody can say whether it was done, so a person must look."""

    async with a_workshop(settings.model_copy(update={"database_url": database_url})) as shop:
        order, _ = await shop.synced()
        event = await shop.event(order, kind)
        for month in await shop.sql(MONTHS):
            await shop.sql(f"ALTER TABLE outbox.deliveries DETACH PARTITION {month['name']}")
        assert await shop.runner(step).deliver(event, redelivered=redelivered) is Outcome.DEAD
        assert await shop.scheduled(event) == []
        assert (await shop.order(order.id)).status is Status.SYNCED
        assert (await shop.order(order.id)).invoice_number is None
