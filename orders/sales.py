"""Sales per day, SKU, country and currency. Called by the analytics step; no function commits."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

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


async def add_sales(tx: AsyncConnection, order_id: UUID) -> None:
    """Add an order's units and revenue to its day, SKUs and country."""
    await tx.execute(_ADD_SALES, {"order_id": order_id})
