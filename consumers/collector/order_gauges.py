"""The collector's figures of orders: each method is one look, and sets its gauges or counts what has come since."""

import time
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.collector import metrics
from orders import counts
from orders.audit import queries
from orders.model import Status
from outbox.schedule import waiting
from runtime.age import NOTHING, Since


class OrderFigures:
    """One collector's, which began at `begun_at` by `time.monotonic()`.

    Ages are computed at each scrape: they grow on between two looks and while Postgres is away.
    """

    def __init__(self, begun_at: float) -> None:
        self._begun_at = begun_at
        self._judged_until: datetime | None = None  # placed until then, by Postgres's clock
        self._oldest = dict.fromkeys(counts.UNFINISHED, NOTHING)
        for status in counts.UNFINISHED:
            metrics.ORDERS_OLDEST.labels(status.value).set_function(partial(self._age, status))

    async def overdue(self, tx: AsyncConnection) -> None:
        """Orders that wait for an effect longer than they may: of the oldest ten thousand, by the word of their steps.

        What exactly is missing, and where it stands, is for `waybill orders audit`.
        """
        for effect, orders in (await queries.overdue(tx)).items():
            metrics.ORDERS_OVERDUE.labels(effect).set(orders)

    async def unfinished(self, tx: AsyncConnection) -> None:
        """How many unfinished orders each status has, and how old the oldest is."""
        found = await counts.unfinished(tx)
        seen_at = time.monotonic()
        for status, standing in found.items():
            metrics.ORDERS.labels(status.value).set(standing.orders)
        self._oldest = {status: Since(standing.oldest_seconds, seen_at) for status, standing in found.items()}

    async def finished(self, tx: AsyncConnection) -> None:
        """How many orders are finished, which reads the whole table."""
        for status, orders in (await counts.finished(tx)).items():
            metrics.ORDERS.labels(status.value).set(orders)

    async def promise(self, tx: AsyncConnection) -> None:
        """Judge each order once, when it is of age, by whether it was finished in time.

        The first are those that come of age as the process starts, however late it finds Postgres. The place that is
        reached moves on only with an answer: after an absence the first look judges all that has come of age
        meanwhile, by the times in the orders themselves, and a stretch at a time, so that a statement that takes too
        long costs that stretch alone. It never moves back, as Postgres's clock may.
        """
        if self._judged_until is None:
            now = await counts.clock(tx)
            self._judged_until = now - timedelta(seconds=time.monotonic() - self._begun_at) - counts.OF_AGE
        more = True
        while more:
            since = self._judged_until
            due = await counts.due(tx, since)
            self._judged_until = max(since, due.until)
            metrics.ORDERS_DUE.labels("in_time").inc(due.in_time)
            metrics.ORDERS_DUE.labels("late").inc(due.late)
            more = due.until >= since + counts.STRETCH

    async def scheduled(self, tx: AsyncConnection) -> None:
        """What waits in Postgres for its time, by the queue that it goes to."""
        found = dict.fromkeys(metrics.QUEUES, 0)
        for queue, messages in await waiting(tx):
            found[metrics.queue_label(queue)] += messages
        for label, messages in found.items():
            metrics.SCHEDULED.labels(label).set(messages)

    def _age(self, status: Status) -> float:
        return self._oldest[status].now()
