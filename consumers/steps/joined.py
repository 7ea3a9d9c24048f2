"""The join before `order.fulfilled`: the last of an order's joined steps to commit records it."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from orders import repository, service
from orders.events import OrderFulfilled
from orders.model import Status


async def joined_step_done(place: Workplace, tx: AsyncConnection, order_id: UUID, step: str) -> None:
    """Clear this step from what its order owes; the last one fulfils the order. A step calls it last: it locks."""
    if await repository.clear_join(tx, order_id, step):
        names = await repository.advance(tx, order_id, Status.SYNCED, Status.FULFILLED)
        await service.emit(tx, OrderFulfilled(order_id, names.number, names.reference), place.settings.event_source)
