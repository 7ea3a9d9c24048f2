"""The order of a delivery: loaded for a step, and followed by an event of the step."""

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import StepError
from orders import repository, service
from orders.events import OrderEvent
from orders.model import Order
from orders.workflow import ErrorKind
from runtime.log_context import redact


async def load_order(delivery: Delivery, tx: AsyncConnection) -> Order:
    """The order that a step works on. Raises StepError: an event without its order is a mistake in the data."""
    order = await repository.get(tx, delivery.order_id)
    if order is None:
        raise StepError(f"order {delivery.order_id} does not exist", kind=ErrorKind.BAD_DATA)
    redact(*order.customer.private)
    return order


async def emit(delivery: Delivery, tx: AsyncConnection, event: OrderEvent) -> None:
    """Record the step's own event in the caller's transaction."""
    await service.emit(tx, event, delivery.ctx.settings.event_source)
