"""Keeps the collector's figures of orders fresh, each by a loop of its own: one that fails holds up no other.

A look that took t is not made again before 100 t have passed, so that no figure takes more than about 1 % of a
connection's time however large the tables are. That is 5 s for nearly all, and minutes for the count of the finished
ones among a hundred million. The others, which people are told by, are made again after a minute at the latest,
whatever they cost. A look that exceeds the session's statement_timeout fails, and that figure stands still.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from consumers.collector import metrics
from consumers.collector.order_gauges import OrderFigures
from runtime.database import autocommit, is_unavailable
from runtime.logging import get_logger
from runtime.redaction.redact import excerpt

PAUSE_SECONDS = 5.0
OVERDUE_SECONDS = 15.0  # deadlines are minutes
PAUSE_PER_SECOND = 100
LONGEST_PAUSE_SECONDS = 60.0  # WaybillOrdersNotWatched misses a figure after two minutes
LOOK_LIMIT_SECONDS = 60.0  # above the session's statement_timeout: for a server that says nothing any more

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What is read at once, and how long after it, at least, it is read again."""

    figure: str
    read: Callable[[AsyncConnection], Awaitable[None]]
    pause_seconds: float = PAUSE_SECONDS
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS

    def pause_after(self, took_seconds: float) -> float:
        """Seconds until the next look."""
        return min(max(self.pause_seconds, PAUSE_PER_SECOND * took_seconds), self.longest_pause_seconds)


def looks(figures: OrderFigures) -> tuple[Look, ...]:
    """Everything that is watched."""
    return (
        Look("overdue", figures.overdue, OVERDUE_SECONDS),
        Look("unfinished", figures.unfinished),
        Look("finished", figures.finished, longest_pause_seconds=math.inf),
        Look("promise", figures.promise),
        Look("scheduled", figures.scheduled),
    )


async def watch_orders(engine: AsyncEngine, stopping: asyncio.Event) -> None:
    """Look until `stopping` is set, whatever becomes of the database."""
    async with asyncio.TaskGroup() as group:
        for look in looks(OrderFigures(time.monotonic())):
            group.create_task(keep_fresh(look, engine, stopping))


async def keep_fresh(look: Look, engine: AsyncEngine, stopping: asyncio.Event) -> None:
    """Look again and again at one figure until `stopping` is set."""
    while not stopping.is_set():
        pause = await run_once(look, engine)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause)


async def run_once(look: Look, engine: AsyncEngine) -> float:
    """Look once; the seconds until the next time. A failure is logged.

    Only Postgres's own work counts: a server that is away is asked again after the usual pause.
    """
    begun = time.monotonic()
    try:
        async with asyncio.timeout(LOOK_LIMIT_SECONDS), autocommit(engine).connect() as connection:
            begun = time.monotonic()
            await look.read(connection)
        metrics.ORDERS_WATCHED.labels(look.figure).set_to_current_time()
    except (OSError, SQLAlchemyError) as error:
        log.warning("orders_not_watched", figure=look.figure, reason=excerpt(f"{type(error).__name__}: {error}", 500))
        if is_unavailable(error):
            return look.pause_seconds
    return look.pause_after(time.monotonic() - begun)
