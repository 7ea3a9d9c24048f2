"""Loads a workload's products, price lists and stock into a fresh database, in the caller's transaction."""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from lab.workload.expectations import Workload
from orders.tables import product_prices, products


async def load_catalogue(tx: AsyncConnection, workload: Workload) -> None:
    """Insert every product as sellable, with its stock and its prices in the workload's currency. Does not commit."""
    rows = [
        {"sku": product.sku, "name": product.name, "sellable": True, "available": product.stock}
        for product in workload.products
    ]
    prices = [
        {"sku": product.sku, "currency": workload.currency, "unit_price": price}
        for product in workload.products
        for price in sorted(product.prices)
    ]
    await tx.execute(insert(products), rows)
    await tx.execute(insert(product_prices), prices)
