"""The invoice step: typesets the invoice and stores it, with one number per order from a series without gaps."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.adapters.typesetter import typeset_invoice
from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import OutsideStep
from consumers.steps.joined import joined_step_done
from consumers.steps.order import load_order
from orders import invoices
from orders.model import Invoice, Order
from runtime.document_store import document_store
from runtime.documents import DocumentStore
from runtime.settings import Settings
from runtime.tracing import tracer


class GenerateInvoicePdf(OutsideStep):
    """`order.synced` -> a PDF in the document store."""

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The step with the document store of the settings."""
        return cls(document_store(settings))

    async def prepare(self, delivery: Delivery, tx: AsyncConnection) -> tuple[Order, Invoice]:
        """The order and its invoice. A second attempt finds the number that the first was given."""
        order = await load_order(delivery, tx)
        return order, await invoices.issue_invoice(tx, order.id, datetime.now(UTC))

    async def perform(self, delivery: Delivery, prepared: tuple[Order, Invoice]) -> dict[str, Any]:
        """The journal: the document's key and the invoice's number."""
        order, invoice = prepared
        with tracer.span("typeset invoice"):
            pdf = await asyncio.to_thread(typeset_invoice, order, invoice, delivery.ctx.settings)
        key = f"invoices/{invoice.number}.pdf"
        with tracer.span("store document", attributes={"waybill.document": key, "waybill.bytes": len(pdf)}):
            await self._documents.put(key, pdf)
        return {"document": key, "invoice_number": invoice.number}

    async def conclude(self, delivery: Delivery, tx: AsyncConnection, journal: Mapping[str, Any]) -> None:
        """Store the PDF's key."""
        await invoices.invoice_stored(tx, delivery.order_id, journal["document"])
        await joined_step_done(delivery, tx)


STEP_CLASS = GenerateInvoicePdf
