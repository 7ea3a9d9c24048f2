"""The join before `order.fulfilled`: the last of an order's joined steps to commit records it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.steps.order import emit
from orders import repository
from orders.events import OrderFulfilled
from orders.model import Status


async def joined_step_done(delivery: Delivery, tx: AsyncConnection) -> None:
    """Clear this step from what its order owes; the last one fulfils the order. A step calls it last: it locks."""
    order_id = delivery.order_id
    if await repository.clear_join(tx, order_id, delivery.step.name):
        names = await repository.advance(tx, order_id, Status.SYNCED, Status.FULFILLED)
        await emit(delivery, tx, OrderFulfilled(order_id, names.number, names.reference))
