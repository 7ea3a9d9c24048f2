"""The results of a delivery: done, retried by the schedule, dead-lettered or refused; and a lost Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import open_context
from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import StepError
from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from orders.model import Order
from orders.workflow import BY_NAME, ErrorKind
from outbox.envelope import MAX_GENERATION, Event
from outbox.inbox import MAX_CLAIMS
from runtime.settings import Settings
from tests.support.builders.step_doubles import Acting, Failing, Pausing
from tests.support.builders.step_harness import StepHarness, again, step_harness
from tests.support.proxies.postgres_proxy import PostgresProxy, proxied

STEP, QUEUE = "validate_order", "validation"
OUTSIDE_STEP, OUTSIDE_QUEUE = "send_confirmation_email", "email"


async def _placed(harness: StepHarness) -> tuple[Order, Event]:
    order = await harness.place_order()
    return order, await harness.event(order, "order.placed")


async def _effects(harness: StepHarness, order: Order) -> int:
    return len((await harness.order(order.id)).sap_document or "")


# The schedule.


async def test_a_step_that_raises_is_expected_and_scheduled_again_in_its_own_queue(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        runner = harness.runner(STEP, Failing(StepError("no luck", wait_seconds=7)))
        before = datetime.now(UTC)
        assert await runner.deliver(placed) is DeliveryResult.RETRIED
        after = datetime.now(UTC)
        row = await harness.inbox_row(QUEUE, placed)
        assert (row["state"], row["generation"], row["error_class"], row["error"]) == (
            "retrying",
            2,
            "StepError",
            "no luck",
        )
        assert "in apply" in row["error_trace"]
        (waiting,) = await harness.scheduled(placed)
        assert (waiting.destination, waiting.event) == (QUEUE, again(placed, 2))
        # The step asked for 7 s; full jitter adds up to the base of 4 s.
        assert before + timedelta(seconds=7) <= waiting.due_at <= after + timedelta(seconds=7 + 4)
        shown = await harness.shown(order, STEP)
        assert (shown["state"], shown["attempt"], shown["error"]) == ("retrying", 1, "StepError: no luck")
        assert shown["next_attempt_at"] == row["due_at"] == waiting.due_at
        assert await _effects(harness, order) == 0


async def test_the_original_delivered_again_while_its_next_generation_waits_is_stale(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        double = Failing(StepError("no luck"))
        runner = harness.runner(STEP, double)
        assert await runner.deliver(placed) is DeliveryResult.RETRIED
        double.error = None
        assert await runner.deliver(placed) is DeliveryResult.STALE
        assert await _effects(harness, order) == 0
        assert len(await harness.scheduled(placed)) == 1
        assert await runner.deliver(again(placed, 2)) is DeliveryResult.DONE
        assert await runner.deliver(again(placed, 2)) is DeliveryResult.DUPLICATE
        assert await runner.deliver(placed) is DeliveryResult.DUPLICATE
        assert await _effects(harness, order) == 1


async def test_the_sixth_failure_dead_letters_and_so_does_every_redelivery_of_it(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        double = Failing(ValueError("never"))
        runner = harness.runner(STEP, double)
        outcomes = [await runner.deliver(again(placed, attempt)) for attempt in range(1, 7)]
        assert outcomes == [DeliveryResult.RETRIED] * 5 + [DeliveryResult.DEAD]
        assert {one.event.generation for one in await harness.scheduled(placed)} == {2, 3, 4, 5, 6}
        row = await harness.inbox_row(QUEUE, placed)
        assert (row["state"], row["generation"], row["error_class"], row["due_at"]) == ("dead", 6, "ValueError", None)
        shown = await harness.shown(order, STEP)
        assert (shown["state"], shown["attempt"], shown["next_attempt_at"]) == ("dead", 6, None)
        assert (row["reason"], row["first_generation"]) == ("retries_exhausted", 1)
        assert row["fingerprint"].startswith("ValueError@")
        double.error = None
        assert await runner.deliver(again(placed, 6)) is DeliveryResult.DEAD
        assert await runner.deliver(again(placed, 3)) is DeliveryResult.STALE
        assert await _effects(harness, order) == 0
        assert await runner.deliver(again(placed, 7)) is DeliveryResult.DONE  # a replay
        assert await _effects(harness, order) == 1


async def test_the_highest_generation_is_the_last(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        assert (
            await harness.runner(STEP, Failing(StepError("no"))).deliver(again(placed, MAX_GENERATION))
            is DeliveryResult.DEAD
        )
        assert await harness.scheduled(placed) == []


async def test_an_error_that_no_column_would_take_is_kept_all_the_same(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        hostile = "\x00 and \ud800 " + "long" * 10_000
        assert await harness.runner(STEP, Failing(ValueError(hostile))).deliver(placed) is DeliveryResult.RETRIED
        kept = (await harness.inbox_row(QUEUE, placed))["error"]
        assert kept.startswith("\\x00 and")
        assert len(kept) < 5_000


async def test_a_local_step_beyond_its_time_limit_is_tried_again(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, placed = await _placed(harness)
        runner = StepRunner(replace(BY_NAME[STEP], time_limit_seconds=0.05), Pausing(), harness.ctx)
        assert await runner.deliver(placed) is DeliveryResult.RETRIED
        row = await harness.inbox_row(QUEUE, placed)
        assert (row["error_class"], row["error"]) == ("TimeoutError", "not done within 0.05 s")
        assert await _effects(harness, order) == 0


async def test_an_outside_step_beyond_its_time_limit_is_tried_again(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        double = Acting()
        runner = StepRunner(replace(BY_NAME[OUTSIDE_STEP], time_limit_seconds=0.05), double, harness.ctx)
        assert await runner.deliver(placed) is DeliveryResult.RETRIED
        row = await harness.inbox_row(OUTSIDE_QUEUE, placed)
        assert (row["state"], row["error"], row["lease_token"]) == ("retrying", "not done within 0.05 s", None)
        assert double.concluded == 0


async def test_an_outside_step_whose_order_does_not_exist_is_dead_lettered_at_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, synced = await harness.synced()
        await harness.sql("DELETE FROM order_lines WHERE order_id = :id", id=order.id)
        await harness.sql("DELETE FROM orders WHERE id = :id", id=order.id)
        assert await harness.deliver(OUTSIDE_STEP, synced) is DeliveryResult.DEAD
        row = await harness.inbox_row(OUTSIDE_QUEUE, synced)
        assert (row["state"], row["reason"], row["error"]) == ("dead", "rejected", f"order {order.id} does not exist")


# Leases.


async def test_a_delivery_that_another_worker_holds_comes_back_when_the_lease_ends(settings: Settings) -> None:
    # So long that it is not renewed between the reading of it and the reading of the messages that it scheduled.
    async with step_harness(settings.model_copy(update={"delivery_lease_seconds": 60})) as harness:
        order, placed = await _placed(harness)
        double = Acting()
        runner = harness.runner(OUTSIDE_STEP, double)
        holder = asyncio.create_task(runner.deliver(placed))
        await double.started.wait()
        assert (await harness.shown(order, OUTSIDE_STEP))["state"] == "running"
        assert await runner.deliver(placed) is DeliveryResult.BUSY
        (waiting,) = await harness.scheduled(placed)
        assert waiting.due_at == (await harness.inbox_row(OUTSIDE_QUEUE, placed))["lease_until"]
        assert (waiting.destination, waiting.event) == (OUTSIDE_QUEUE, placed)
        double.may_end.set()
        assert await holder is DeliveryResult.DONE
        assert await runner.deliver(waiting.event) is DeliveryResult.DUPLICATE
        assert (len(double.claims), await _effects(harness, order)) == (1, 1)


async def test_a_lease_is_renewed_while_the_step_acts(settings: Settings) -> None:
    async with step_harness(settings.model_copy(update={"delivery_lease_seconds": 6})) as harness:
        _, placed = await _placed(harness)
        double = Acting()
        holder = asyncio.create_task(harness.runner(OUTSIDE_STEP, double).deliver(placed))
        await double.started.wait()
        first = (await harness.inbox_row(OUTSIDE_QUEUE, placed))["lease_until"]
        async with asyncio.timeout(30):
            while (await harness.inbox_row(OUTSIDE_QUEUE, placed))["lease_until"] == first:  # noqa: ASYNC110 - the signal is a row
                await asyncio.sleep(0.02)
        double.may_end.set()
        assert await holder is DeliveryResult.DONE


@pytest.mark.parametrize("notices", ["while it acts", "when it writes down"])
async def test_a_step_that_lost_its_lease_writes_nothing(settings: Settings, notices: str) -> None:
    async with step_harness(settings.model_copy(update={"delivery_lease_seconds": 1.2})) as harness:
        order, placed = await _placed(harness)
        double = Acting()
        holder = asyncio.create_task(harness.runner(OUTSIDE_STEP, double).deliver(placed))
        await double.started.wait()
        taken_over = "UPDATE outbox.deliveries SET lease_token = gen_random_uuid() WHERE event_id = :id RETURNING *"
        (before,) = await harness.sql(taken_over, id=placed.id)
        if notices == "when it writes down":
            double.may_end.set()
        # Come back when the other's lease is over: should that one die too, this message is the only one there is.
        assert await holder is DeliveryResult.BUSY
        assert await harness.inbox_row(OUTSIDE_QUEUE, placed) == before
        assert (double.concluded, await _effects(harness, order)) == (0, 0)
        assert [waiting.event.generation for waiting in await harness.scheduled(placed)] == [1]
        assert (await harness.shown(order, OUTSIDE_STEP))["state"] == "running"


async def test_a_holder_that_cannot_renew_its_lease_stops_acting_while_the_lease_is_still_its_own(
    settings: Settings,
) -> None:
    """Cut off from Postgres alone it could still post to SAP, beside the one who takes over."""

    async with _behind_proxy(settings.model_copy(update={"delivery_lease_seconds": 8, "sap_commit_seconds": 4})) as (
        harness,
        proxy,
        cut_off,
    ):
        _, placed = await _placed(harness)
        double = Acting()
        delivery = asyncio.create_task(cut_off.runner("sync_order_to_sap", double).deliver(placed))
        await double.started.wait()
        proxy.cut()
        await double.stopped.wait()
        left = "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM outbox.deliveries WHERE event_id = :id"
        # SAP's longest commit fits before the next look-up; part of it has passed since the stop.
        assert await harness.value(left, id=placed.id) > 0.5
        proxy.restore()
        assert await delivery is DeliveryResult.BUSY
        (waiting,) = await harness.scheduled(placed)
        assert waiting.event == placed
        assert double.concluded == 0


class Unprepared(Acting):
    """Cannot even begin."""

    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> None:  # noqa: ARG002
        raise RuntimeError("no way to begin")


async def test_a_claim_that_fails_after_a_worker_died_leaves_the_delivery_scheduled(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        killed = asyncio.create_task(harness.runner(OUTSIDE_STEP, died := Acting()).deliver(placed))
        await died.started.wait()
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        await harness.sql(
            "UPDATE outbox.deliveries SET lease_until = clock_timestamp() - interval '1 s' WHERE event_id = :id",
            id=placed.id,
        )

        assert await harness.runner(OUTSIDE_STEP, Unprepared()).deliver(placed) is DeliveryResult.BUSY

        assert [waiting.event.generation for waiting in await harness.scheduled(placed)] == [1]
        assert await harness.runner(OUTSIDE_STEP, Acting(waits=False)).deliver(placed) is DeliveryResult.DONE


async def test_a_delivery_that_kills_its_workers_is_dead_lettered_at_the_fourth_claim(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        _, placed = await _placed(harness)
        double = Acting()
        for _ in range(MAX_CLAIMS):
            double.started.clear()
            killed = asyncio.create_task(harness.runner(OUTSIDE_STEP, double).deliver(placed))
            await double.started.wait()
            killed.cancel()
            await asyncio.gather(killed, return_exceptions=True)
            await harness.sql(
                "UPDATE outbox.deliveries SET lease_until = clock_timestamp() - interval '1 s' WHERE event_id = :id",
                id=placed.id,
            )
        assert [claim.claims for claim in double.claims] == [1, 2, 3]
        assert await harness.runner(OUTSIDE_STEP, double).deliver(placed) is DeliveryResult.DEAD
        assert len(double.claims) == MAX_CLAIMS
        row = await harness.inbox_row(OUTSIDE_QUEUE, placed)
        assert (row["state"], row["error_class"]) == ("dead", "KilledWorkerError")
        assert await harness.scheduled(placed) == []


# Postgres goes away.


@asynccontextmanager
async def _behind_proxy(settings: Settings) -> AsyncIterator[tuple[StepHarness, PostgresProxy, StepHarness]]:
    """A harness, a proxy, and a second harness that reaches Postgres through the proxy only."""

    async with step_harness(settings) as harness, proxied(settings.database_url) as proxy:
        behind = settings.model_copy(update={"database_url": proxy.url, "database_pool_size": 2})
        cut_off = StepHarness(open_context(behind, "waybill-test-behind-proxy"))
        try:
            yield harness, proxy, cut_off
        finally:
            proxy.restore()
            await cut_off.close()


async def _cut_while_it_runs(double: Pausing | Acting, proxy: PostgresProxy) -> None:
    """Take Postgres away from a step that has started; bring it back when the end of the step was refused twice."""
    await double.started.wait()
    proxy.cut()
    double.may_end.set()
    await proxy.refusals(2)
    proxy.restore()


async def test_a_local_step_waits_while_postgres_is_away_and_spends_no_attempt(settings: Settings) -> None:
    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        order, placed = await _placed(harness)
        double = Pausing()
        delivery = asyncio.create_task(cut_off.runner(STEP, double).deliver(placed))
        await _cut_while_it_runs(double, proxy)
        assert await delivery is DeliveryResult.DONE
        # The first run's effect went with its transaction.
        assert (double.runs, await _effects(harness, order)) == (2, 2)
        assert (await harness.inbox_row(QUEUE, placed))["generation"] == 1
        assert await harness.scheduled(placed) == []


async def test_an_outside_step_that_has_acted_waits_to_write_it_down_and_acts_once(settings: Settings) -> None:
    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        order, placed = await _placed(harness)
        double = Acting()
        delivery = asyncio.create_task(cut_off.runner(OUTSIDE_STEP, double).deliver(placed))
        await _cut_while_it_runs(double, proxy)
        assert await delivery is DeliveryResult.DONE
        assert (len(double.claims), await _effects(harness, order)) == (1, 1)
        assert (await harness.inbox_row(OUTSIDE_QUEUE, placed))["generation"] == 1


@pytest.mark.parametrize("step", ["sync_order_to_sap", "send_confirmation_email", "generate_invoice_pdf"])
async def test_a_delivery_that_finds_no_postgres_at_all_waits_for_it(settings: Settings, step: str) -> None:
    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        order, event = await (harness.reserved() if step == "sync_order_to_sap" else harness.synced())
        proxy.cut()
        delivery = asyncio.create_task(cut_off.deliver(step, event))
        await proxy.refusals(2)
        proxy.restore()
        assert await delivery is DeliveryResult.DONE
        assert (await harness.shown(order, step))["attempt"] == 1


@pytest.mark.parametrize("step", ["sync_order_to_sap", "send_confirmation_email", "generate_invoice_pdf"])
async def test_a_postgres_that_goes_away_right_after_the_claim_spends_no_attempt(settings: Settings, step: str) -> None:
    """The claim is committed and its answer lost: the worker finds a claim that it does not know to be its own."""

    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        _, event = await (harness.reserved() if step == "sync_order_to_sap" else harness.synced())
        proxy.lose_answer_to_next_commit()
        assert await cut_off.deliver(step, event) is DeliveryResult.BUSY
        assert proxy.lost_commits == 1
        (waiting,) = await harness.scheduled(event)
        assert waiting.event == event
        await harness.sql(
            "UPDATE outbox.deliveries SET lease_until = clock_timestamp() WHERE event_id = :id", id=event.id
        )
        assert await cut_off.deliver(step, event) is DeliveryResult.DONE
        assert await cut_off.deliver(step, event) is DeliveryResult.DUPLICATE


async def test_a_commit_whose_answer_is_lost_is_not_done_twice(settings: Settings) -> None:
    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        order, placed = await _placed(harness)
        proxy.lose_answer_to_next_commit()
        double = Failing(ValueError())
        double.error = None
        assert await cut_off.runner(STEP, double).deliver(placed) is DeliveryResult.DUPLICATE
        assert proxy.lost_commits == 1
        assert await _effects(harness, order) == 1


@pytest.mark.parametrize(("last", "outcome"), [(False, DeliveryResult.STALE), (True, DeliveryResult.DEAD)])
async def test_a_failure_whose_commit_was_not_answered_ends_as_it_was_written(
    settings: Settings, last: bool, outcome: DeliveryResult
) -> None:
    """A dead-lettered delivery is rejected again: acknowledged, its message would never reach the dead-letter queue."""

    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        _, placed = await _placed(harness)
        double = Failing(StepError("no", kind=ErrorKind.BAD_DATA if last else ErrorKind.SERVER))
        double.before_raising = proxy.lose_answer_to_next_commit
        assert await cut_off.runner(STEP, double).deliver(placed) is outcome
        assert proxy.lost_commits == 1
        assert len(await harness.scheduled(placed)) == int(not last)


async def test_an_outside_step_dead_lettered_without_an_answer_is_dead_as_well(settings: Settings) -> None:
    async with _behind_proxy(settings) as (harness, proxy, cut_off):
        _, placed = await _placed(harness)

        class Refusing(Acting):
            async def perform(self, *_: Any) -> dict[str, Any]:
                proxy.lose_answer_to_next_commit()
                raise StepError("no", kind=ErrorKind.REFUSED)

        assert await cut_off.runner(OUTSIDE_STEP, Refusing()).deliver(placed) is DeliveryResult.DEAD
        assert (await harness.inbox_row(OUTSIDE_QUEUE, placed))["state"] == "dead"
