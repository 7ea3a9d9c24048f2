"""What the three steps after `order.synced` have in common: the last of them to commit records `order.fulfilled`."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from orders import repository, service
from orders.events import OrderFulfilled
from orders.model import Status


async def joined_step_done(place: Workplace, tx: AsyncConnection, order_id: UUID) -> None:
    """Count this step as done; with none remaining, fulfil the order. The last thing that a step does: it locks."""
    if await repository.joined_step_done(tx, order_id) == 0:
        names = await repository.advance(tx, order_id, Status.SYNCED, Status.FULFILLED)
        await service.emit(tx, OrderFulfilled(order_id, names.number, names.reference), place.settings.event_source)
