"""Order gauges of the collector: each method runs one query and sets its gauges.

Called by `consumers.collector.refresh`.
"""

import time
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.collector import metrics
from orders import counts
from orders.audit import queries
from orders.model import Status
from outbox.schedule import waiting
from runtime.age import NO_AGE, Age


class OrderGauges:
    """The gauges of one collector, which started at `started_at` by `time.monotonic()`.

    Ages are computed at each scrape, so they keep growing between two refreshes and while Postgres is away.
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._judged_until: datetime | None = None  # by Postgres's clock
        self._oldest = dict.fromkeys(counts.UNFINISHED, NO_AGE)
        for status in counts.UNFINISHED:
            metrics.ORDERS_OLDEST.labels(status.value).set_function(partial(self._age, status))

    async def overdue(self, tx: AsyncConnection) -> None:
        """Count the orders that wait for an effect past its deadline: among the oldest 10,000, by their steps' states.

        `waybill orders audit` says exactly what is missing, and in which step.
        """
        for effect, orders in (await queries.overdue(tx)).items():
            metrics.ORDERS_OVERDUE.labels(effect).set(orders)

    async def unfinished(self, tx: AsyncConnection) -> None:
        """Count the unfinished orders of each status, and take the age of the oldest."""
        found = await counts.unfinished(tx)
        seen_at = time.monotonic()
        for status, orders in found.items():
            metrics.ORDERS.labels(status.value).set(orders.orders)
        self._oldest = {status: Age(orders.oldest_seconds, seen_at) for status, orders in found.items()}

    async def finished(self, tx: AsyncConnection) -> None:
        """Count the finished orders, which reads the whole table."""
        for status, orders in (await counts.finished(tx)).items():
            metrics.ORDERS.labels(status.value).set(orders)

    async def promise(self, tx: AsyncConnection) -> None:
        """Count each order once, when it becomes due, by whether it was finished in time.

        It starts with the orders that become due at process start, even if Postgres is unreachable then. The position
        advances only after a successful query. After an outage the first refresh judges all orders that became due
        meanwhile, by the times in the orders, one stretch at a time, so that a statement that takes too long costs
        that stretch alone. The position never moves back, although Postgres's clock may.
        """
        if self._judged_until is None:
            now = await counts.clock(tx)
            self._judged_until = now - timedelta(seconds=time.monotonic() - self._started_at) - counts.OF_AGE
        more = True
        while more:
            since = self._judged_until
            due = await counts.due(tx, since)
            self._judged_until = max(since, due.until)
            metrics.ORDERS_DUE.labels("in_time").inc(due.in_time)
            metrics.ORDERS_DUE.labels("late").inc(due.late)
            more = due.until >= since + counts.STRETCH

    async def scheduled(self, tx: AsyncConnection) -> None:
        """Count the messages that are scheduled in Postgres, by their queue."""
        found = dict.fromkeys(metrics.QUEUES, 0)
        for queue, messages in await waiting(tx):
            found[metrics.queue_label(queue)] += messages
        for label, messages in found.items():
            metrics.SCHEDULED.labels(label).set(messages)

    def _age(self, status: Status) -> float:
        return self._oldest[status].now()
