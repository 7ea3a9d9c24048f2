"""Products, their price list and their stock. Every function takes an open transaction; none commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_PRODUCTS = text("""
SELECT p.sku, p.sellable, l.currency, l.unit_price
FROM products p LEFT JOIN product_prices l ON l.sku = p.sku
WHERE p.sku = ANY(CAST(:skus AS text[]))
""")

# Locked in SKU order by every order alike, so that two orders can wait for each other but never in a circle.
_LOCK_STOCK = text("""
SELECT sku, available FROM products WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR UPDATE
""")

_TAKE = text("""
WITH taken AS (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:quantities AS int[])) AS taken (sku, quantity)),
less AS (UPDATE products p SET available = p.available - taken.quantity FROM taken WHERE p.sku = taken.sku)
INSERT INTO reservations (order_id, sku, quantity) SELECT :order_id, sku, quantity FROM taken
""")


@dataclass(frozen=True, slots=True)
class Product:
    """A product as validation reads it. `prices` are (currency, unit price) pairs of the price list."""

    sku: str
    sellable: bool
    prices: frozenset[tuple[str, Decimal]]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too few units of a product are left."""

    sku: str
    wanted: int
    available: int


async def products(tx: AsyncConnection, skus: Sequence[str]) -> dict[str, Product]:
    """The products among `skus` that the catalogue knows."""
    prices: dict[str, set[tuple[str, Decimal]]] = {}
    sellable: dict[str, bool] = {}
    for row in await tx.execute(_PRODUCTS, {"skus": list(skus)}):
        sellable[row.sku] = row.sellable
        listed = prices.setdefault(row.sku, set())
        if row.currency is not None:
            listed.add((row.currency, row.unit_price))
    return {sku: Product(sku, sellable[sku], frozenset(listed)) for sku, listed in prices.items()}


async def reserve(tx: AsyncConnection, order_id: UUID, units: Mapping[str, int]) -> list[Shortage]:
    """Reserve the units of every SKU, or none and return the shortages. Locks the products until the end of `tx`."""
    rows = await tx.execute(_LOCK_STOCK, {"skus": list(units)})
    available = {row.sku: row.available for row in rows}
    short = [
        Shortage(sku, wanted, available.get(sku, 0)) for sku, wanted in units.items() if available.get(sku, 0) < wanted
    ]
    if not short:
        values = {"order_id": order_id, "skus": list(units), "quantities": list(units.values())}
        await tx.execute(_TAKE, values)
    return short
