"""Sums that must agree: gapless invoice numbers, sales figures, stock, the audit log against what was recorded.

Each is one statement and returns only the differences. They belong in the same transaction as `orders.audit.queries`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit.queries import CLOCK_SKEW, Window
from orders.audit.rules import STEP_OF, Effect
from outbox.cursor.id_ranges import first_id_since
from outbox.envelope import lowest_id
from outbox.subject_queries import EXCHANGE_EVENTS, done_subjects

# A number that was given out is an invoice, or it was given back.
_INVOICE_GAPS = text("""
SELECT coalesce(sum(last_sequence - (SELECT count(*) FROM invoices i WHERE i.series = s.series)), 0)::int
FROM invoice_series s
""")

# Whole days, because the figures are per day: each order of a day counts once its delivery is done.
_SALES = text("""
WITH counted AS MATERIALIZED (SELECT unnest(CAST(:counted AS text[])) AS subject),
due AS (
  SELECT (o.placed_at AT TIME ZONE 'UTC')::date AS day, l.sku, o.country, o.currency,
         sum(l.quantity) AS units, sum(l.net) AS revenue
  FROM orders o JOIN counted ON counted.subject = o.id::text JOIN order_lines l ON l.order_id = o.id
  WHERE o.placed_at >= :begin AND o.placed_at < :end GROUP BY 1, 2, 3, 4),
there AS (SELECT * FROM sales_by_day WHERE day >= CAST(:first AS date) AND day < CAST(:past AS date))
SELECT day, sku, country, currency, coalesce(due.units, 0)::int AS due_units, coalesce(due.revenue, 0) AS due_revenue,
       coalesce(there.units, 0)::int AS units, coalesce(there.revenue, 0) AS revenue
FROM due FULL JOIN there USING (day, sku, country, currency)
WHERE (due.units, due.revenue) IS DISTINCT FROM (there.units, there.revenue)
ORDER BY 1, 2, 3, 4
""")

# Products whose stock is not the initial stock less all reservations.
_STOCK = text("""
SELECT p.sku, began.units AS initial, p.available, coalesce(taken.units, 0)::int AS reserved
FROM unnest(CAST(:skus AS text[]), CAST(:units AS int[])) AS began (sku, units) JOIN products p USING (sku)
LEFT JOIN (SELECT sku, sum(quantity) AS units FROM reservations GROUP BY 1) AS taken USING (sku)
WHERE began.units - coalesce(taken.units, 0) <> p.available ORDER BY 1
""")

# Events for the event exchange that no row of the audit log has. One statement, because a program would have to read
# every event of the window to find the few missing.
_AUDIT_MISSING = text(f"""
SELECT count(*) AS missing,
       count(*) FILTER (WHERE recorded_at <= clock_timestamp() - CAST(:deadline AS interval)) AS overdue
FROM (
  SELECT e.event_id, min(e.recorded_at) AS recorded_at
  FROM ({EXCHANGE_EVENTS}) AS e JOIN orders o ON o.id::text = e.subject
  WHERE o.placed_at >= :since AND o.placed_at < :until
    AND NOT EXISTS (SELECT FROM audit_log a WHERE a.event_id = e.event_id)
  GROUP BY 1) AS unknown
""")  # noqa: S608 - a constant

# No order has an event type twice, so a second row of one means that a step had its effect twice.
_AUDIT_EXTRA = text("""
SELECT count(*) - count(DISTINCT (a.order_id, a.type))
FROM audit_log a JOIN orders o ON o.id = a.order_id
WHERE o.placed_at >= :since AND o.placed_at < :until AND a.event_id >= :lowest
""")

_AUDIT_OF_NO_ORDER = text("""
SELECT a.event_id, a.order_id FROM audit_log a
WHERE a.event_id >= :lowest AND a.event_id < :highest AND NOT EXISTS (SELECT FROM orders o WHERE o.id = a.order_id)
""")


@dataclass(frozen=True, slots=True)
class SalesDifference:
    """Sales figures that are not the sum over the orders that were counted."""

    day: date
    sku: str
    country: str
    currency: str
    due_units: int
    due_revenue: Decimal
    units: int
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class StockDifference:
    """Units that neither are available nor reserved, or are both."""

    sku: str
    initial: int
    available: int
    reserved: int


@dataclass(frozen=True, slots=True)
class AuditDifference:
    """Events that the audit log lacks, those of them that are overdue, and second rows of one event type."""

    missing: int
    overdue: int
    extra: int
    of_no_order: list[tuple[UUID, UUID]]  # event and order


async def invoice_gaps(tx: AsyncConnection) -> int:
    """The count of numbers, over all series, that were given out and that no invoice has."""
    return int((await tx.execute(_INVOICE_GAPS)).scalar_one())


async def sales_differences(tx: AsyncConnection, window: Window) -> list[SalesDifference]:
    """The sales figures of the window's days that do not agree with their orders."""
    first, last = window.since.astimezone(UTC).date(), window.until.astimezone(UTC).date()
    past = last + timedelta(days=1)
    begin = _midnight(first)
    values = {
        "counted": await done_subjects(tx, STEP_OF[Effect.ANALYTICS].queue, lowest_id(begin - CLOCK_SKEW)),
        "begin": begin,
        "end": _midnight(past),
        "first": first,
        "past": past,
    }
    return [SalesDifference(*row) for row in await tx.execute(_SALES, values)]


async def stock_differences(tx: AsyncConnection, initial: Mapping[str, int]) -> list[StockDifference]:
    """Products whose units were lost or made up, given the stock of each before the first order."""
    values = {"skus": list(initial), "units": list(initial.values())}
    return [StockDifference(*row) for row in await tx.execute(_STOCK, values)]


async def audit_differences(tx: AsyncConnection, window: Window, deadline: timedelta) -> AuditDifference:
    """The audit log against the events that the outbox still has; `deadline` is counted from an event's recording."""
    values = {"since": window.since, "until": window.until}
    lowest, highest = lowest_id(window.since - CLOCK_SKEW), lowest_id(window.until + CLOCK_SKEW)
    first_id = await first_id_since(tx, window.since)
    behind = (await tx.execute(_AUDIT_MISSING, {**values, "first_id": first_id, "deadline": deadline})).one()
    extra = (await tx.execute(_AUDIT_EXTRA, {**values, "lowest": lowest})).scalar_one()
    strangers = await tx.execute(_AUDIT_OF_NO_ORDER, {"lowest": lowest, "highest": highest})
    return AuditDifference(behind.missing, behind.overdue, extra, [(row.event_id, row.order_id) for row in strangers])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
