"""What the books keep: invoices in a gapless series, sales per day, the audit log. None of these functions commits."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.model import Audited, Invoice, invoice_number
from outbox.envelope import Event

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

# In the order of the key: two orders that touch the same products lock their rows in the same order.
_ADD_SALES = text("""
INSERT INTO sales_by_day AS s (day, sku, country, currency, units, revenue)
SELECT (o.placed_at AT TIME ZONE 'UTC')::date, l.sku, o.country, o.currency, sum(l.quantity), sum(l.net)
FROM orders o JOIN order_lines l ON l.order_id = o.id
WHERE o.id = :order_id
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (day, sku, country, currency) DO UPDATE
SET units = s.units + excluded.units, revenue = s.revenue + excluded.revenue
""")

# The row is its own inbox: the same event twice is one row.
_AUDIT = text("""
INSERT INTO audit_log (event_id, order_id, type, occurred_at, data)
VALUES (:event_id, :order_id, :type, :occurred_at, CAST(:data AS jsonb))
ON CONFLICT (event_id) DO NOTHING
""")

_AUDITED = text("SELECT event_id, type, occurred_at FROM audit_log WHERE order_id = :order_id ORDER BY occurred_at")


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


async def add_sales(tx: AsyncConnection, order_id: UUID) -> None:
    """Add an order's units and revenue to its day, SKUs and country."""
    await tx.execute(_ADD_SALES, {"order_id": order_id})


async def write_audit(tx: AsyncConnection, order_id: UUID, event: Event) -> bool:
    """Keep an event for good; False when it was kept before."""
    values = {
        "event_id": event.id,
        "order_id": order_id,
        "type": event.type,
        "occurred_at": event.time,
        "data": event.data.decode(),
    }
    return (await tx.execute(_AUDIT, values)).rowcount == 1


async def audited(tx: AsyncConnection, order_id: UUID) -> list[Audited]:
    """The events of an order that were kept for good."""
    return [Audited(*row) for row in await tx.execute(_AUDITED, {"order_id": order_id})]
