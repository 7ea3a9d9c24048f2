"""The steps with local effects: what each does, and that the same event twice does it once."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from consumers.delivery.result import DeliveryResult
from orders.model import Address, Line, Order, Status
from outbox.envelope import Event, new_event_id
from runtime.settings import Settings
from tests.support.builders.step_doubles import Unrecorded
from tests.support.builders.step_harness import CUSTOMER, StepHarness, step_harness

# validate


async def _validate(harness: StepHarness, *lines: Line, **order: Any) -> Order:
    placed = await harness.place_order(*lines, **order)
    assert await harness.deliver("validate_order", await harness.event(placed, "order.placed")) is DeliveryResult.DONE
    return await harness.order(placed.id)


async def test_a_sound_order_is_validated_and_says_so_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        assert await harness.deliver("validate_order", placed) is DeliveryResult.DONE
        assert await harness.deliver("validate_order", placed) is DeliveryResult.DUPLICATE
        assert (await harness.order(order.id)).status is Status.VALIDATED
        validated = await harness.event(order, "order.validated")
        assert json.loads(validated.data) == {
            "order_id": str(order.id),
            "number": order.number,
            "reference": order.reference,
        }
        assert (await harness.shown(order, "validate_order"))["state"] == "done"


async def test_a_customer_without_postal_code_and_region_is_complete(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        customer = replace(CUSTOMER, address=Address("8 Johnstown Road", "Cork", "Ireland", None, None))
        assert (await _validate(harness, customer=customer)).status is Status.VALIDATED


@pytest.mark.parametrize("asked", ["14", "14.00", "14.0000", "14.000"])
async def test_a_price_is_compared_as_a_number_not_as_it_is_written(settings: Settings, asked: str) -> None:
    async with step_harness(settings) as harness:
        sku = await harness.product(10, "9.80", "14")
        assert (await _validate(harness, Line(sku, 1, Decimal(asked)))).status is Status.VALIDATED


async def test_an_order_is_rejected_with_every_reason_there_is(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        fine, withdrawn, in_euro, dearer = (
            await harness.product(),
            await harness.product(sellable=False),
            await harness.product(currency="EUR"),
            await harness.product(10, "14.01"),
        )
        fourteen = Decimal("14.00")
        order = await _validate(
            harness,
            *(Line(sku, 1, fourteen) for sku in (fine, "SKU-UNHEARD-OF", withdrawn, in_euro, dearer)),
            customer=replace(CUSTOMER, name=" ", address=Address("", "Bern", "Switzerland")),
        )
        assert order.status is Status.REJECTED
        assert [(reason.code, reason.sku) for reason in order.reject_reasons] == [
            ("customer_incomplete", None),
            ("unknown_sku", "SKU-UNHEARD-OF"),
            ("not_sellable", withdrawn),
            ("currency", in_euro),
            ("price", dearer),
        ]
        assert order.reject_reasons[0].message == "The customer's name, street is missing."
        assert order.reject_reasons[4].message == f"Line 5: 14.00 USD is not our price of product {dearer}."
        rejected = json.loads((await harness.event(order, "order.rejected")).data)
        assert [reason["code"] for reason in rejected["reasons"]] == [one.code for one in order.reject_reasons]
        assert await harness.events(order, "order.validated") == []


async def test_a_rejection_delivered_twice_is_recorded_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await _validate(harness, Line("SKU-UNHEARD-OF", 1, Decimal(1)))
        again_placed = await harness.event(order, "order.placed")
        assert await harness.deliver("validate_order", again_placed) is DeliveryResult.DUPLICATE
        assert len(await harness.events(order, "order.rejected")) == 1


# inventory


async def test_two_lines_of_one_sku_are_one_demand_on_stock_taken_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        sku = await harness.product(10)
        order, validated = await harness.validated(Line(sku, 4, Decimal(14)), Line(sku, 3, Decimal(14)))
        assert await harness.deliver("reserve_inventory", validated) is DeliveryResult.DONE
        assert await harness.deliver("reserve_inventory", validated) is DeliveryResult.DUPLICATE
        assert await harness.available(sku) == 3
        reserved = await harness.event(order, "inventory.reserved")
        assert json.loads(reserved.data)["units"] == 7
        assert (await harness.order(order.id)).status is Status.RESERVED
        assert await harness.value("SELECT quantity FROM reservations WHERE order_id = :id", id=order.id) == 7


async def test_an_order_that_is_short_of_one_sku_takes_no_unit_of_any(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        plenty, few = await harness.product(10), await harness.product(5)
        lines = Line(plenty, 2, Decimal(14)), Line(few, 3, Decimal(14)), Line(few, 3, Decimal(14))
        order, validated = await harness.validated(*lines)
        assert await harness.deliver("reserve_inventory", validated) is DeliveryResult.DONE
        assert (await harness.available(plenty), await harness.available(few)) == (10, 5)
        rejected = await harness.order(order.id)
        assert rejected.status is Status.REJECTED
        (reason,) = rejected.reject_reasons
        assert reason.message == f"Product {few} is out of stock: 6 ordered, 5 available."
        assert await harness.deliver("reserve_inventory", validated) is DeliveryResult.DUPLICATE
        assert len(await harness.events(order, "order.rejected")) == 1
        assert await harness.events(order, "inventory.reserved") == []


async def test_many_orders_on_few_units_never_oversell_and_never_wait_in_a_circle(settings: Settings) -> None:
    """Twenty orders at once, each of three SKUs in an order of its own, on stock for eight."""

    async with step_harness(settings) as harness:
        skus = [await harness.product(24) for _ in range(6)]
        made = [await harness.validated(*_crossing(skus, turn)) for turn in range(20)]
        outcomes = await asyncio.gather(*(harness.deliver("reserve_inventory", event) for _, event in made))
        assert set(outcomes) == {DeliveryResult.DONE}
        orders = [await harness.order(order.id) for order, _ in made]
        taken = [order for order in orders if order.status is Status.RESERVED]
        refused = [order for order in orders if order.status is Status.REJECTED]
        assert len(taken) + len(refused) == 20
        assert taken
        assert refused
        left = {sku: await harness.available(sku) for sku in skus}
        assert min(left.values()) >= 0
        for sku in skus:
            units = sum(line.quantity for order in taken for line in order.lines if line.sku == sku)
            assert left[sku] == 24 - units
        reservations = await harness.sql(
            "SELECT order_id, count(*) FROM reservations WHERE sku = ANY(:s) GROUP BY 1", s=skus
        )
        assert {row["order_id"]: row["count"] for row in reservations} == {order.id: 3 for order in taken}


def _crossing(skus: Sequence[str], turn: int) -> list[Line]:
    chosen = [skus[(turn * step + step) % len(skus)] for step in (1, 2, 3)]
    distinct = list(dict.fromkeys(chosen)) + [sku for sku in skus if sku not in chosen]
    lines = [Line(sku, 5, Decimal(14)) for sku in distinct[:3]]
    return lines if turn % 2 else lines[::-1]


# analytics


async def test_sales_are_added_per_day_sku_and_country_exactly_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        sku = await harness.product()
        lines = Line(sku, 3, Decimal("14.00"), Decimal("0.05")), Line(sku, 1, Decimal("14.00"))
        for country in ("Chile", "Chile", "Peru"):
            customer = replace(CUSTOMER, address=replace(CUSTOMER.address, country=country))
            _, synced = await harness.synced(*lines, customer=customer)
            assert await harness.deliver("update_analytics", synced) is DeliveryResult.DONE
            assert await harness.deliver("update_analytics", synced) is DeliveryResult.DUPLICATE
        rows = await harness.sql(
            "SELECT country, currency, units, revenue FROM sales_by_day WHERE sku = :s ORDER BY 1", s=sku
        )
        assert [list(row.values()) for row in rows] == [
            ["Chile", "USD", 8, Decimal("107.80")],
            ["Peru", "USD", 4, Decimal("53.90")],
        ]


async def test_concurrent_orders_of_the_same_skus_add_up_without_a_deadlock(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        skus = [await harness.product() for _ in range(5)]
        lines = [Line(sku, 1, Decimal(14)) for sku in skus]
        made = [await harness.synced(*(lines if turn % 2 else lines[::-1])) for turn in range(20)]
        outcomes = await asyncio.gather(
            *(harness.deliver("update_analytics", event) for _, event in made for _ in "ab")
        )
        assert sorted(outcome.value for outcome in outcomes) == ["done"] * 20 + ["duplicate"] * 20
        rows = await harness.sql("SELECT units, revenue FROM sales_by_day WHERE sku = ANY(:skus)", skus=skus)
        assert [list(row.values()) for row in rows] == [[20, Decimal("280.00")]] * 5


# finalize


async def test_a_fulfilled_order_is_completed_once_with_its_time(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, fulfilled = await harness.fulfilled()
        assert await harness.deliver("finalize_order", fulfilled) is DeliveryResult.DONE
        completed = await harness.order(order.id)
        assert completed.status is Status.COMPLETED
        assert completed.completed_at is not None
        assert await harness.deliver("finalize_order", fulfilled) is DeliveryResult.DUPLICATE
        assert (await harness.order(order.id)).completed_at == completed.completed_at
        assert len(await harness.events(order, "order.completed")) == 1


async def test_an_order_that_is_not_fulfilled_is_not_completed(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, fulfilled = await harness.fulfilled()
        await harness.sql("UPDATE orders SET status = 'synced' WHERE id = :id", id=order.id)
        assert await harness.deliver("finalize_order", fulfilled) is DeliveryResult.RETRIED
        assert "is not fulfilled" in (await harness.inbox_row("finalization", fulfilled))["error"]
        assert await harness.events(order, "order.completed") == []


# audit


async def test_every_event_is_kept_as_one_row_with_its_data(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, validated = await harness.validated()
        placed = await harness.event(order, "order.placed")
        for event in (placed, validated, placed):
            await harness.deliver("record_audit", event)
        rows = await harness.sql("SELECT * FROM audit_log WHERE order_id = :id ORDER BY occurred_at", id=order.id)
        assert [(row["event_id"], row["type"]) for row in rows] == [
            (placed.id, "order.placed"),
            (validated.id, "order.validated"),
        ]
        assert rows[0]["data"] == json.loads(placed.data)
        assert await harness.deliver("record_audit", placed) is DeliveryResult.DUPLICATE


async def test_an_audited_event_leaves_no_inbox_row_and_a_retried_one_no_open_one(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order = await harness.place_order()
        placed = await harness.event(order, "order.placed")
        assert await harness.deliver("record_audit", placed) is DeliveryResult.DONE
        assert await harness.delivery("audit", placed) is None

        unheard_of = replace(placed, id=new_event_id())
        assert await harness.runner("record_audit", Unrecorded()).deliver(unheard_of) is DeliveryResult.RETRIED
        assert (await harness.shown(order, "record_audit"))["state"] == "retrying"
        assert (await harness.inbox_row("audit", unheard_of))["state"] == "retrying"
        (waiting,) = await harness.scheduled(unheard_of)
        assert await harness.deliver("record_audit", waiting.event) is DeliveryResult.DONE
        assert (await harness.inbox_row("audit", unheard_of))["state"] == "done"
        assert (await harness.shown(order, "record_audit"))["state"] == "done"
        assert await harness.deliver("record_audit", waiting.event) is DeliveryResult.DUPLICATE


async def test_an_event_of_an_order_that_does_not_exist_is_dead_lettered_at_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        placed = await harness.event(await harness.place_order(), "order.placed")
        stray = _of_another_order(placed)
        assert await harness.deliver("validate_order", stray) is DeliveryResult.DEAD
        row = await harness.inbox_row("validation", stray)
        assert (row["reason"], row["generation"]) == ("rejected", 1)
        assert "does not exist" in row["error"]
        assert await harness.deliver("validate_order", stray) is DeliveryResult.DEAD
        assert await harness.scheduled(stray) == []


def _of_another_order(event: Event) -> Event:
    order_id = str(new_event_id())
    data = json.loads(event.data) | {"order_id": order_id}
    return replace(event, id=new_event_id(), subject=order_id, data=json.dumps(data).encode())
