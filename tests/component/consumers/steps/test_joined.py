"""The three steps after `order.synced`: whichever commits last fulfils the order, and only that one."""

import asyncio

from consumers.delivery.result import DeliveryResult
from orders.model import Status
from orders.workflow import joined_steps
from runtime.settings import Settings
from tests.support.builders.step_harness import step_harness


async def test_three_steps_at_once_fulfil_each_of_many_orders_exactly_once(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        made = [await harness.synced() for _ in range(10)]
        runs = [harness.deliver(step, event) for _, event in made for step in joined_steps()]
        assert set(await asyncio.gather(*runs)) == {DeliveryResult.DONE}
        for order, _ in made:
            assert (await harness.order(order.id)).status is Status.FULFILLED
            assert len(await harness.events(order, "order.fulfilled")) == 1
            assert await harness.value("SELECT open_joins FROM orders WHERE id = :id", id=order.id) == []


async def test_two_of_three_do_not_fulfil_an_order_however_often_they_are_delivered(settings: Settings) -> None:
    async with step_harness(settings) as harness:
        order, synced = await harness.synced()
        for _ in range(3):
            for step in joined_steps()[:2]:
                await harness.deliver(step, synced)
        assert (await harness.order(order.id)).status is Status.SYNCED
        assert await harness.events(order, "order.fulfilled") == []
        assert await harness.deliver(joined_steps()[2], synced) is DeliveryResult.DONE
        assert len(await harness.events(order, "order.fulfilled")) == 1
