"""The validation step: accepts orders with known, sellable SKUs, prices of our list and a complete customer."""

from collections.abc import Iterator, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import LocalStep
from consumers.steps.order import emit, load_order
from orders import catalogue, repository
from orders.catalogue import Product
from orders.events import OrderRejected, OrderValidated
from orders.model import Line, NewOrder, RejectReason, Status


class ValidateOrder(LocalStep):
    """`order.placed` -> `order.validated` or `order.rejected`."""

    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        """Advance the order, or reject it with every reason there is, so that the customer mends all at once."""
        order = await load_order(delivery, tx)
        products = await catalogue.products(tx, sorted({line.sku for line in order.lines}))
        reasons = list(reasons_to_reject(order, products))
        if reasons:
            await repository.reject(tx, order.id, Status.PENDING, reasons)
            await emit(delivery, tx, OrderRejected(order.id, order.number, order.reference, tuple(reasons)))
        else:
            await repository.advance(tx, order.id, Status.PENDING, Status.VALIDATED)
            await emit(delivery, tx, OrderValidated(order.id, order.number, order.reference))


def reasons_to_reject(order: NewOrder, products: Mapping[str, Product]) -> Iterator[RejectReason]:
    """Every reason against an order, in order of its parts."""
    yield from _incomplete_customer(order)
    for position, line in enumerate(order.lines, start=1):
        yield from _wrong_line(position, line, order.currency, products.get(line.sku))


def _incomplete_customer(order: NewOrder) -> Iterator[RejectReason]:
    address = order.customer.address
    parts = {
        "name": order.customer.name,
        "e-mail address": order.customer.email,
        "street": address.street,
        "city": address.city,
        "country": address.country,
    }
    missing = [name for name, value in parts.items() if not value.strip()]
    if missing:
        yield RejectReason("customer_incomplete", f"The customer's {', '.join(missing)} is missing.")


def _wrong_line(position: int, line: Line, currency: str, product: Product | None) -> Iterator[RejectReason]:
    where = f"Line {position}"
    if product is None:
        yield RejectReason("unknown_sku", f"{where}: we have no product {line.sku}.", line.sku)
    elif not product.sellable:
        yield RejectReason("not_sellable", f"{where}: product {line.sku} is not for sale.", line.sku)
    elif not any(listed == currency for listed, _ in product.prices):
        yield RejectReason("currency", f"{where}: we do not sell product {line.sku} in {currency}.", line.sku)
    elif (currency, line.unit_price) not in product.prices:
        asked = f"{line.unit_price} {currency}"
        yield RejectReason("price", f"{where}: {asked} is not our price of product {line.sku}.", line.sku)


STEP_CLASS = ValidateOrder
