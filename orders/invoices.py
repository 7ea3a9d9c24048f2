"""Invoices in a gapless series per year. Called by the invoice step and the API; no function commits."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.model import Invoice, invoice_number

_INVOICE = text("SELECT series, sequence, order_id, issued_at, document FROM invoices WHERE order_id = :order_id")

# The series' row is locked until commit: the next number is given out only when this one is kept or given back.
_ISSUE = text("""
WITH known AS (SELECT series, sequence, issued_at, document FROM invoices WHERE order_id = :order_id),
next AS (
  INSERT INTO invoice_series AS s (series, last_sequence) SELECT :series, 1 WHERE NOT EXISTS (SELECT FROM known)
  ON CONFLICT (series) DO UPDATE SET last_sequence = s.last_sequence + 1
  RETURNING series, last_sequence),
issued AS (
  INSERT INTO invoices (series, sequence, order_id, issued_at)
  SELECT series, last_sequence, :order_id, :issued_at FROM next
  RETURNING series, sequence, issued_at, document)
SELECT * FROM known UNION ALL SELECT * FROM issued
""")

_STORED = text("UPDATE invoices SET document = :document WHERE order_id = :order_id")


async def invoice_of(tx: AsyncConnection, order_id: UUID) -> Invoice | None:
    """An order's invoice; its `document` is None until the PDF is stored."""
    row = (await tx.execute(_INVOICE, {"order_id": order_id})).one_or_none()
    if row is None:
        return None
    return Invoice(invoice_number(row.series, row.sequence), row.order_id, row.issued_at, row.document)


async def issue_invoice(tx: AsyncConnection, order_id: UUID, issued_at: datetime) -> Invoice:
    """The order's invoice, with the next number of its year's series unless it has one already.

    Commit soon: the series waits for this transaction.
    """
    values = {"series": f"{issued_at.year}", "order_id": order_id, "issued_at": issued_at}
    row = (await tx.execute(_ISSUE, values)).one()
    return Invoice(invoice_number(row.series, row.sequence), order_id, row.issued_at, row.document)


async def invoice_stored(tx: AsyncConnection, order_id: UUID, document: str) -> None:
    """Write down under which key an invoice's PDF is kept."""
    await tx.execute(_STORED, {"order_id": order_id, "document": document})
