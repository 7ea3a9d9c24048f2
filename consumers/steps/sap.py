"""The SAP step: makes the order a sales document in SAP, once.

SAP does not deduplicate. Each claim searches for the document before it posts, the first one too: an inbox that was
restored from a dump does not know what was done after it. Every failure after which a document may exist or may yet
appear waits out SAP's longest commit, so that the look-up is final.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.adapters.erp import Erp, ErpUnavailable, SalesDocument, SalesOrderDraft, SalesOrderItem
from consumers.adapters.erp_factory import make_erp
from consumers.delivery.delivery import Delivery
from consumers.delivery.error_kinds import StepError
from consumers.delivery.limits import commit_wait_seconds
from consumers.delivery.step_kinds import OutsideStep
from consumers.steps.order import emit, load_order
from orders import repository
from orders.events import OrderSynced
from orders.model import Order, Status
from orders.workflow import ErrorKind
from runtime.settings import Settings


class SyncOrderToSap(OutsideStep):
    """`inventory.reserved` -> `order.synced`."""

    def __init__(self, erp: Erp) -> None:
        self._erp = erp

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The step with an ERP client of its own."""
        return cls(make_erp(settings))

    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> Order:
        """The order to book."""
        return await load_order(delivery, tx)

    async def perform(self, delivery: Delivery, prepared: Order) -> dict[str, Any]:
        """The journal: SAP's document number and net amount."""
        order = prepared
        try:
            document = await self._erp.find(order.number, order.id)
            if document is None:
                document = await self._erp.create(_draft(order))
        except ErpUnavailable as error:
            commit = commit_wait_seconds(delivery.step, delivery.ctx.settings) if error.uncertain else 0.0
            raise StepError(str(error), max(commit, error.retry_after or 0.0), kind=error.kind) from error
        _compare(order, document)
        return {"sap_document": document.number, "net_amount": str(document.net_amount)}

    async def is_away(self) -> bool:
        """SAP serves no request: it is down, blocked, or refuses our password."""
        return await self._erp.is_away()

    async def conclude(self, delivery: Delivery, tx: AsyncConnection, journal: Mapping[str, Any]) -> None:
        """Advance the order with its document's number."""
        order_id, document = delivery.order_id, journal["sap_document"]
        names = await repository.advance(tx, order_id, Status.RESERVED, Status.SYNCED, sap_document=document)
        await emit(delivery, tx, OrderSynced(order_id, names.number, names.reference, document))

    async def close(self) -> None:
        """Close the connections to SAP."""
        await self._erp.aclose()


def _draft(order: Order) -> SalesOrderDraft:
    items = tuple(SalesOrderItem(line.sku, line.quantity, line.unit_price, line.discount) for line in order.lines)
    return SalesOrderDraft(order.number, order.id, order.currency, items)


def _compare(order: Order, document: SalesDocument) -> None:
    """SAP computes for itself; a document that differs from the promise to the customer needs a person."""
    theirs, ours = (document.net_amount, document.currency), (order.net_total, order.currency)
    if (Decimal(theirs[0]), theirs[1]) != ours:
        raise StepError(
            f"SAP document {document.number} of order {order.number} says {theirs[0]} {theirs[1]}, "
            f"the order {ours[0]} {ours[1]}",
            kind=ErrorKind.BAD_DATA,
        )


STEP_CLASS = SyncOrderToSap
