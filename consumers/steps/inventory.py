"""Take stock for every line of an order, or for none."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import LocalStep, order_of
from orders import catalogue, repository, service
from orders.catalogue import Shortage
from orders.events import InventoryReserved, OrderRejected
from orders.model import RejectReason, Status, units_by_sku
from outbox.envelope import Event


class ReserveInventory(LocalStep):
    """`order.validated` -> `inventory.reserved` or `order.rejected`."""

    async def apply(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> None:  # noqa: ARG002
        """Reserve all units, in SKU order; short of any, take none and reject."""
        order = await order_of(tx, order_id)
        units = units_by_sku(order.lines)
        short = await catalogue.reserve(tx, order_id, units)
        source = place.settings.event_source
        if short:
            reasons = tuple(map(_reason, short))
            await repository.reject(tx, order_id, Status.VALIDATED, reasons)
            await service.emit(tx, OrderRejected(order_id, order.number, order.reference, reasons), source)
        else:
            await repository.advance(tx, order_id, Status.VALIDATED, Status.RESERVED)
            total = sum(units.values())
            await service.emit(tx, InventoryReserved(order_id, order.number, order.reference, total), source)


def _reason(short: Shortage) -> RejectReason:
    message = f"Product {short.sku} is out of stock: {short.wanted} ordered, {short.available} available."
    return RejectReason("out_of_stock", message, short.sku)
