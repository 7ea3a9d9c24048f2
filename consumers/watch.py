"""Counts the orders that wait for an effect longer than they may, for the gauge `waybill_orders_overdue`.

Cheap enough to be asked all day: only unfinished orders are read, by an index that holds no others, and of those the
oldest ten thousand. A gauge that stands still is told by the time of its last success. What exactly is missing, and
where it stands, is for `waybill orders audit`.
"""

import asyncio
import contextlib

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers import metrics
from orders import ledger
from orders.judgement import Effect
from runtime.database import autocommit
from runtime.logging import get_logger

LOOK_SECONDS = 15.0

log = get_logger(__name__)


async def run_once(engine: AsyncEngine) -> dict[Effect, int]:
    """Count once and set the gauge. Raises what the database raises."""
    async with autocommit(engine).connect() as connection:
        overdue = await ledger.overdue(connection)
    for effect, orders in overdue.items():
        metrics.ORDERS_OVERDUE.labels(effect.value).set(orders)
    metrics.ORDERS_WATCHED.set_to_current_time()
    return overdue


async def watch_orders(engine: AsyncEngine, stopping: asyncio.Event, pause_seconds: float = LOOK_SECONDS) -> None:
    """Count every `pause_seconds` until `stopping` is set, whatever becomes of the database."""
    while not stopping.is_set():
        try:
            await run_once(engine)
        except (OSError, SQLAlchemyError) as error:
            log.warning("orders_not_watched", reason=f"{type(error).__name__}: {error}"[:500])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause_seconds)
