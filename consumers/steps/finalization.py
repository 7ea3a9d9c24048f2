"""The finalize step: closes an order that has nothing left to do."""

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import LocalStep
from consumers.steps.order import emit
from orders import repository
from orders.events import OrderCompleted
from orders.model import Status


class FinalizeOrder(LocalStep):
    """`order.fulfilled` -> `order.completed`."""

    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        """Set the order's end, with its time."""
        names = await repository.advance(tx, delivery.order_id, Status.FULFILLED, Status.COMPLETED)
        await emit(delivery, tx, OrderCompleted(delivery.order_id, names.number, names.reference))


STEP_CLASS = FinalizeOrder
