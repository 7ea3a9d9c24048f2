"""Close the order: nothing is left to do."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import LocalStep
from orders import repository, service
from orders.events import OrderCompleted
from orders.model import Status
from outbox.envelope import Event


class FinalizeOrder(LocalStep):
    """`order.fulfilled` -> `order.completed`."""

    async def apply(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> None:  # noqa: ARG002
        """Set the order's end, with its time."""
        names = await repository.advance(tx, order_id, Status.FULFILLED, Status.COMPLETED)
        await service.emit(tx, OrderCompleted(order_id, names.number, names.reference), place.settings.event_source)
