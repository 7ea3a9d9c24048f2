"""The inventory step: reserves stock for every line of an order, or for none."""

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import LocalStep
from consumers.steps.order import emit, load_order
from orders import catalogue, repository
from orders.catalogue import Shortage
from orders.events import InventoryReserved, OrderRejected
from orders.model import RejectReason, Status, units_by_sku


class ReserveInventory(LocalStep):
    """`order.validated` -> `inventory.reserved` or `order.rejected`."""

    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        """Reserve all units, in SKU order; short of any, take none and reject."""
        order = await load_order(delivery, tx)
        units = units_by_sku(order.lines)
        short = await catalogue.reserve(tx, order.id, units)
        if short:
            reasons = tuple(map(_reason, short))
            await repository.reject(tx, order.id, Status.VALIDATED, reasons)
            await emit(delivery, tx, OrderRejected(order.id, order.number, order.reference, reasons))
        else:
            await repository.advance(tx, order.id, Status.VALIDATED, Status.RESERVED)
            total = sum(units.values())
            await emit(delivery, tx, InventoryReserved(order.id, order.number, order.reference, total))


def _reason(short: Shortage) -> RejectReason:
    message = f"Product {short.sku} is out of stock: {short.wanted} ordered, {short.available} available."
    return RejectReason("out_of_stock", message, short.sku)


STEP_CLASS = ReserveInventory
