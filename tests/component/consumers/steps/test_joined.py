"""The three steps after `order.synced`: whichever commits last fulfils the order, and only that one."""

import asyncio

from consumers.delivery.outcome import Outcome
from orders.model import Status
from orders.workflow import JOINED
from runtime.settings import Settings
from tests.support.builders.step_harness import a_workshop


async def test_three_steps_at_once_fulfil_each_of_many_orders_exactly_once(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        made = [await shop.synced() for _ in range(10)]
        runs = [shop.deliver(step, event) for _, event in made for step in JOINED]
        assert set(await asyncio.gather(*runs)) == {Outcome.DONE}
        for order, _ in made:
            assert (await shop.order(order.id)).status is Status.FULFILLED
            assert len(await shop.events(order, "order.fulfilled")) == 1
            assert await shop.value("SELECT remaining FROM orders WHERE id = :id", id=order.id) == 0


async def test_two_of_three_do_not_fulfil_an_order_however_often_they_are_delivered(settings: Settings) -> None:
    async with a_workshop(settings) as shop:
        order, synced = await shop.synced()
        for _ in range(3):
            for step in JOINED[:2]:
                await shop.deliver(step, synced)
        assert (await shop.order(order.id)).status is Status.SYNCED
        assert await shop.events(order, "order.fulfilled") == []
        assert await shop.deliver(JOINED[2], synced) is Outcome.DONE
        assert len(await shop.events(order, "order.fulfilled")) == 1
