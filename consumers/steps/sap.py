"""Make the order a sales document in SAP, once.

SAP does not dedupe. Each claim looks before it posts, also the first one: an inbox that was restored from a dump knows
nothing of what was done after it. Every failure after which a document may exist or may yet come waits out SAP's
longest commit, so that the look is final.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.adapters.erp import ErpUnavailable, SalesDocument, SalesOrderDraft, SalesOrderItem
from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import OutsideStep, StepError, order_of
from orders import repository, service
from orders.events import OrderSynced
from orders.model import Order, Status
from orders.workflow import ErrorKind
from outbox.inbox import Claim


class SyncOrderToSap(OutsideStep):
    """`inventory.reserved` -> `order.synced`."""

    async def prepare(self, place: Workplace, tx: AsyncConnection, order_id: UUID) -> Order:  # noqa: ARG002
        """The order to book."""
        return await order_of(tx, order_id)

    async def perform(self, place: Workplace, prepared: Order, claim: Claim) -> dict[str, Any]:  # noqa: ARG002
        """The journal: SAP's document number and net amount."""
        order = prepared
        try:
            document = await place.erp.find(order.number, order.id)
            if document is None:
                document = await place.erp.create(_draft(order))
        except ErpUnavailable as error:
            commit = place.settings.sap_commit_seconds if error.uncertain else 0.0
            raise StepError(str(error), max(commit, error.retry_after or 0.0), kind=error.kind) from error
        _compare(order, document)
        return {"sap_document": document.number, "net_amount": str(document.net_amount)}

    async def away(self, place: Workplace) -> bool:
        """SAP serves nobody: it is down, blocked, or does not know our password any more."""
        return await place.erp.is_away()

    async def conclude(self, place: Workplace, tx: AsyncConnection, order_id: UUID, journal: Mapping[str, Any]) -> None:
        """Advance the order with its document's number."""
        document = journal["sap_document"]
        names = await repository.advance(tx, order_id, Status.RESERVED, Status.SYNCED, sap_document=document)
        synced = OrderSynced(order_id, names.number, names.reference, document)
        await service.emit(tx, synced, place.settings.event_source)


def _draft(order: Order) -> SalesOrderDraft:
    items = tuple(SalesOrderItem(line.sku, line.quantity, line.unit_price, line.discount) for line in order.lines)
    return SalesOrderDraft(order.number, order.id, order.currency, items)


def _compare(order: Order, document: SalesDocument) -> None:
    """SAP computes for itself; a document that differs from what the customer was promised is for a person."""
    theirs, ours = (document.net_amount, document.currency), (order.net_total, order.currency)
    if (Decimal(theirs[0]), theirs[1]) != ours:
        raise StepError(
            f"SAP document {document.number} of order {order.number} says {theirs[0]} {theirs[1]}, "
            f"the order {ours[0]} {ours[1]}",
            kind=ErrorKind.BAD_DATA,
        )
