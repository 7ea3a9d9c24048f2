"""Refresh of the collector's order gauges, each by a loop of its own, so that a failing one delays no other.

Run by `consumers.collector.process`; the queries are in `consumers.collector.order_gauges`. A refresh that took t is
repeated after 100 t at the earliest, so that no gauge takes more than about 1 % of a connection's time however large
the tables are. That is 5 s for nearly all, and minutes for the count of the finished orders among a hundred million.
The gauges with alerts are refreshed after a minute at the latest, whatever they cost. A refresh that exceeds the
session's statement_timeout fails, and its gauge keeps its value.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.collector import metrics
from consumers.collector.order_gauges import OrderGauges
from runtime.database import autocommit, is_unavailable
from runtime.logging import get_logger
from runtime.loops import sleep_until
from runtime.redaction.redact import excerpt

PAUSE_SECONDS = 5.0
OVERDUE_SECONDS = 15.0  # deadlines are minutes
PAUSE_PER_SECOND = 100
LONGEST_PAUSE_SECONDS = 60.0  # WaybillOrdersNotWatched fires after two minutes without one
REFRESH_LIMIT_SECONDS = 60.0  # above the session's statement_timeout: for a server that has stopped answering

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refresh:
    """One query for gauges, and the pause after it."""

    figure: str
    read: Callable[[AsyncConnection], Awaitable[None]]
    pause_seconds: float = PAUSE_SECONDS
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS

    def pause_after(self, took_seconds: float) -> float:
        """Seconds until the next refresh."""
        return min(max(self.pause_seconds, PAUSE_PER_SECOND * took_seconds), self.longest_pause_seconds)


def refreshes(gauges: OrderGauges) -> tuple[Refresh, ...]:
    """All refreshes of the order gauges."""
    return (
        Refresh("overdue", gauges.overdue, OVERDUE_SECONDS),
        Refresh("unfinished", gauges.unfinished),
        Refresh("finished", gauges.finished, longest_pause_seconds=math.inf),
        Refresh("promise", gauges.promise),
        Refresh("scheduled", gauges.scheduled),
    )


async def watch_orders(engine: AsyncEngine, stopping: asyncio.Event) -> None:
    """Refresh until `stopping` is set; errors of the database do not end it."""
    async with asyncio.TaskGroup() as group:
        for refresh in refreshes(OrderGauges(time.monotonic())):
            group.create_task(keep_fresh(refresh, engine, stopping))


async def keep_fresh(refresh: Refresh, engine: AsyncEngine, stopping: asyncio.Event) -> None:
    """Repeat one refresh until `stopping` is set."""
    while not stopping.is_set():
        await sleep_until(stopping, await run_once(refresh, engine))


async def run_once(refresh: Refresh, engine: AsyncEngine) -> float:
    """Refresh once and return the seconds until the next time. A failure is logged.

    Only Postgres's own work counts: after an error of a server that is away the pause is the usual one.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(REFRESH_LIMIT_SECONDS), autocommit(engine).connect() as connection:
            began = time.monotonic()
            await refresh.read(connection)
        metrics.ORDERS_WATCHED.labels(refresh.figure).set_to_current_time()
    except (OSError, SQLAlchemyError) as error:
        log.warning("orders_not_watched", figure=refresh.figure, error=excerpt(f"{type(error).__name__}: {error}", 500))
        if is_unavailable(error):
            return refresh.pause_seconds
    return refresh.pause_after(time.monotonic() - began)
