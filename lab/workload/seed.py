"""The catalogue of `lab up`: a system without products gets the generated ones, so that a person can order."""

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from lab.workload.catalogue import load_catalogue
from lab.workload.generator import generate
from orders.tables import products
from runtime.database import async_url

ORDERS_WORTH_OF_STOCK = 500


async def fill_empty_shelves(database_url: str) -> int:
    """Load the generated products, prices and stock unless there are products; returns how many were loaded."""
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)
    try:
        async with engine.begin() as tx:
            if (await tx.execute(select(exists(select(products.c.sku))))).scalar_one():
                return 0
            workload = generate(ORDERS_WORTH_OF_STOCK)
            await load_catalogue(tx, workload)
            return len(workload.products)
    finally:
        await engine.dispose()
