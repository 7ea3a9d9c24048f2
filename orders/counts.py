"""Counts of orders by status, their age, and whether they were finished in time. Read by the collector's gauges.

Unfinished orders are read by an index that holds no others: their counts cost what the backlog is large. Finished
orders are the rest of the table, for which Postgres keeps no count: a caller should count them seldom.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.model import FINAL, Status
from orders.workflow import PROMISED_SECONDS

UNFINISHED = tuple(status for status in Status if status not in FINAL)
# A step reads the time of completion before it commits. No order is judged before such a commit can be seen.
SETTLED_SECONDS = 2.0
OF_AGE = timedelta(seconds=PROMISED_SECONDS + SETTLED_SECONDS)
STRETCH = timedelta(hours=1)  # of placement times, judged by one statement

# The condition is that of the partial index `orders_unfinished`, or Postgres would not use it.
_UNFINISHED = text("""
SELECT status, count(*) AS orders, extract(epoch FROM clock_timestamp() - min(placed_at))::float8 AS oldest_seconds
FROM orders WHERE status NOT IN ('completed', 'rejected') GROUP BY status
""")

# Reads the whole table.
_FINISHED = text("SELECT status, count(*) AS orders FROM orders WHERE status IN ('completed', 'rejected') GROUP BY 1")

_CLOCK = text("SELECT clock_timestamp()")

# A range of the index `orders_newest`. statement_timestamp() is one moment, for the bound and for the returned `until`.
_DUE = text("""
SELECT count(orders.id) AS orders,
  count(*) FILTER (WHERE completed_at - placed_at <= CAST(:promised AS interval)) AS in_time, until
FROM (SELECT least(statement_timestamp() - CAST(:age AS interval),
                   CAST(:since AS timestamptz) + CAST(:stretch AS interval)) AS until) AS bound
LEFT JOIN orders ON placed_at > :since AND placed_at <= until
GROUP BY until
""")


@dataclass(frozen=True, slots=True)
class StatusCount:
    """The number of orders of one unfinished status, and the age of the oldest, None without any."""

    orders: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Due:
    """The orders placed after the last judgement and up to `until`: finished in the promised time, and not."""

    in_time: int
    late: int
    until: datetime


async def unfinished(tx: AsyncConnection) -> dict[Status, StatusCount]:
    """The count of every unfinished status, also of those that no order has."""
    rows = {row.status: StatusCount(row.orders, row.oldest_seconds) for row in await tx.execute(_UNFINISHED)}
    return {status: rows.get(status.value, StatusCount(0, None)) for status in UNFINISHED}


async def finished(tx: AsyncConnection) -> Mapping[Status, int]:
    """How many orders each final status has."""
    rows = {row.status: row.orders for row in await tx.execute(_FINISHED)}
    return {status: rows.get(status.value, 0) for status in FINAL}


async def clock(tx: AsyncConnection) -> datetime:
    """Postgres's time, by which orders are placed and finished."""
    moment: datetime = (await tx.execute(_CLOCK)).scalar_one()
    return moment


async def due(tx: AsyncConnection, since: datetime) -> Due:
    """Judge the orders placed after `since` that are old enough by now, STRETCH at most. To the microsecond."""
    values = {"since": since, "promised": timedelta(seconds=PROMISED_SECONDS), "age": OF_AGE, "stretch": STRETCH}
    row = (await tx.execute(_DUE, values)).one()
    return Due(row.in_time, row.orders - row.in_time, row.until)
