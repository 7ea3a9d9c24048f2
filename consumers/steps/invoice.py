"""Typeset the invoice and keep it: one number per order, from a series without gaps."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.adapters.typesetter import typeset_invoice
from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import OutsideStep, order_of
from consumers.steps.joined import joined_step_done
from orders import books
from orders.model import Invoice, Order
from outbox.inbox import Claim
from runtime.tracing import tracer


class GenerateInvoicePdf(OutsideStep):
    """`order.synced` -> a PDF in the document store."""

    async def prepare(self, place: Workplace, tx: AsyncConnection, order_id: UUID) -> tuple[Order, Invoice]:  # noqa: ARG002
        """The order and its invoice. A second try finds the number that the first was given."""
        order = await order_of(tx, order_id)
        return order, await books.issue_invoice(tx, order_id, datetime.now(UTC))

    async def perform(self, place: Workplace, prepared: tuple[Order, Invoice], claim: Claim) -> dict[str, Any]:  # noqa: ARG002
        """The journal: the document's key and the invoice's number."""
        order, invoice = prepared
        with tracer.span("typeset invoice"):
            pdf = await asyncio.to_thread(typeset_invoice, order, invoice, place.settings)
        key = f"invoices/{invoice.number}.pdf"
        with tracer.span("store document", attributes={"waybill.document": key, "waybill.bytes": len(pdf)}):
            await place.documents.put(key, pdf)
        return {"document": key, "invoice_number": invoice.number}

    async def conclude(self, place: Workplace, tx: AsyncConnection, order_id: UUID, journal: Mapping[str, Any]) -> None:
        """Write down where the PDF is."""
        await books.invoice_stored(tx, order_id, journal["document"])
        await joined_step_done(place, tx, order_id, "generate_invoice_pdf")
