"""A session of the relay: connections, lease, term. Run by `relay.__main__`, one after another.

A lost broker, a lost database or a lost lease ends the whole session. In a term these tasks run beside each other:

    leadership.keep       renew the lease
    pipeline.run          read, publish, confirm, advance the cursor
    required_queues       check the queues; hold publishing while one is missing
    scheduler             turn due rows into events
    partitions            create ahead, expire behind

The lease is released before the connections are closed, so that a standby does not wait for the close. It is released
after the pipeline has ended, so that nothing of this session is published in another relay's term.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import asdict
from datetime import timedelta
from typing import TypeVar

from outbox.cursor.cluster_adoption import adopt
from outbox.cursor.reader import Reader
from relay import listen
from relay.connections import Connections, Database
from relay.health import metrics
from relay.health.liveness import Liveness, RelayStatus, Role
from relay.leadership import Leadership
from relay.maintenance import partitions
from relay.maintenance.required_queues import RequiredQueues
from relay.maintenance.scheduler import move_due_rows
from relay.pipeline import Pipeline
from relay.publisher import PublisherLostError
from runtime.logging import get_logger
from runtime.settings import Settings

DRAIN_SECONDS = 5.0  # for a broker that confirms nothing; otherwise events in flight are confirmed at once

T = TypeVar("T")

log = get_logger(__name__)


class InRecoveryError(Exception):
    """The server is in recovery: it takes no writes, and a promotion elsewhere may discard what it shows."""


class Session:
    """One session: wait for the lease, serve a term, hand over."""

    def __init__(
        self, settings: Settings, stopping: asyncio.Event, liveness: Liveness, me: str, *, queues_complete: bool = True
    ) -> None:
        self._settings = settings
        self._queues_complete = queues_complete
        self._stopping = stopping
        self._liveness = liveness
        self._me = me
        self._retention = timedelta(days=settings.outbox_retention_days)
        self._inbox_retention = timedelta(days=settings.inbox_retention_days)

    async def run(self) -> None:
        """Wait to lead, then lead, until stopped. Raises the errors that ended it."""
        self._set_status("none", "the database does not answer")
        async with contextlib.AsyncExitStack() as stack:
            connections = await self._or_stop(Connections.open(stack, self._settings))
            if connections is None:
                return
            await self._refuse_recovery(connections.lease)
            leadership = Leadership(connections.lease, self._settings.relay_lease_seconds, self._me)
            self._set_status("standby")
            try:
                epoch = await leadership.wait_to_lead(self._stopping)
                if epoch is None:
                    return
                async with asyncio.TaskGroup() as group:
                    # From the first moment: finding the cursor's position in a long backlog takes longer than a lease.
                    keeping = group.create_task(leadership.keep(epoch))
                    await self._lead(stack, connections, epoch)
                    keeping.cancel()
            finally:
                await leadership.release()
            log.info("handed_over", epoch=epoch)

    async def _refuse_recovery(self, connection: Database) -> None:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            self._set_status("none", "the database is in recovery")
            raise InRecoveryError("DATABASE_URL leads to a server in recovery")

    async def _lead(self, stack: contextlib.AsyncExitStack, connections: Connections, epoch: int) -> None:
        metrics.LEADER.set(1)
        metrics.EPOCH.set(epoch)
        self._set_status("leader", "the cursor's position is not found yet", epoch)
        log.info("leading", epoch=epoch)
        reader = Reader(connections.reader, self._settings.relay_page_size)
        pipeline = Pipeline(self._settings, reader, connections.cursor, epoch)
        stack.push_async_callback(pipeline.publisher.close)
        required_queues = RequiredQueues(
            connections.queues, pipeline.publisher, pipeline, complete=self._queues_complete
        )
        if not await self._or_stop(self._prepare(connections, reader, pipeline, required_queues, epoch)):
            return
        self._liveness.status = RelayStatus(
            "leader", None, epoch, lambda: pipeline.turned_at, lambda: pipeline.oldest_sent_at
        )
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(move_due_rows(connections.due, connections.late)),
                group.create_task(required_queues.watch()),
                group.create_task(
                    partitions.keep_partitions(connections.partitions, self._retention, self._inbox_retention)
                ),
                group.create_task(self._stop_when_asked(pipeline)),
                group.create_task(_lost(pipeline)),
            ]
            await pipeline.run()
            for task in tasks:
                task.cancel()

    async def _prepare(
        self, connections: Connections, reader: Reader, pipeline: Pipeline, required_queues: RequiredQueues, epoch: int
    ) -> bool:
        """Find the cursor's position, connect to the broker, check the required queues. True when done."""
        adopted = await adopt(connections.reader)
        if adopted is not None:
            log.warning("cluster_adopted", **asdict(adopted))
        await reader.resume()
        # Before the broker: writers need segments even while the broker is away.
        await partitions.keep_partitions_ahead(connections.partitions)
        self._set_status("leader", "the broker does not answer", epoch)
        await pipeline.publisher.open(self._settings.amqp_url)
        await required_queues.check()
        await listen.listen(connections.lease, pipeline.wake)
        return True

    async def _stop_when_asked(self, pipeline: Pipeline) -> None:
        await self._stopping.wait()
        pipeline.stop()
        await asyncio.sleep(DRAIN_SECONDS)
        raise PublisherLostError(f"not everything in flight was confirmed within {DRAIN_SECONDS} s of stopping")

    async def _or_stop(self, work: Coroutine[None, None, T]) -> T | None:
        """The result of `work`, or None if the relay is stopped first. `work` has ended either way."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return None

    def _set_status(self, role: Role, waits_for: str | None = None, epoch: int | None = None) -> None:
        self._liveness.status = RelayStatus(role, waits_for, epoch)


async def _lost(pipeline: Pipeline) -> None:
    raise PublisherLostError(await pipeline.publisher.lost)
