"""A session: connections, lease, reign. What ends it, a broker gone, a database gone, a lease lost, ends all of it.

The lease is given back before connections are closed, so that a standby waits for nobody's good-bye, and after the
carrier has ended, so that nothing of this session is published in another's reign.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Self, TypeAlias, TypeVar

from asyncpg import Connection, Record

from outbox.cursor.cluster_adoption import adopt
from outbox.cursor.reader import Reader
from relay import listen
from relay.connections import NO_WAIT_FOR_DISK, connected
from relay.health import metrics
from relay.health.liveness import Role, Standing, Vitals
from relay.leadership import Leadership
from relay.maintenance import partitions
from relay.maintenance.scheduler import move_due_rows
from relay.pipeline import Carrier
from relay.publisher import PublisherLostError
from runtime.logging import get_logger
from runtime.settings import Settings

DRAIN_SECONDS = 5.0  # of a broker that takes nothing; otherwise what is in flight is confirmed in a moment

Database: TypeAlias = "Connection[Record]"
T = TypeVar("T")

log = get_logger(__name__)


class InRecoveryError(Exception):
    """The server is a replica: it takes no writes, and what it shows may be taken back."""


@dataclass(frozen=True, slots=True)
class _Links:
    """The session's connections, one per duty."""

    reader: Database
    cursor: Database
    lease: Database
    due: Database
    late: Database
    queues: Database
    segments: Database

    @classmethod
    async def made(cls, stack: contextlib.AsyncExitStack, settings: Settings) -> Self:
        """All of them, closed with `stack`."""
        lease = await stack.enter_async_context(connected(settings, options=NO_WAIT_FOR_DISK))
        reader, cursor, due, late, queues, segments = [
            await stack.enter_async_context(connected(settings)) for _ in range(6)
        ]
        return cls(reader, cursor, lease, due, late, queues, segments)


class Session:
    """One try to lead and carry."""

    def __init__(
        self, settings: Settings, stopping: asyncio.Event, vitals: Vitals, me: str, *, queues_complete: bool = True
    ) -> None:
        self._settings = settings
        self._queues_complete = queues_complete
        self._stopping = stopping
        self._vitals = vitals
        self._me = me
        self._retention = timedelta(days=settings.outbox_retention_days)
        self._inbox_retention = timedelta(days=settings.inbox_retention_days)

    async def run(self) -> None:
        """Lead and carry until stopped; raises what ended it."""
        self._stands("none", "the database does not answer")
        async with contextlib.AsyncExitStack() as stack:
            links = await self._or_stop(_Links.made(stack, self._settings))
            if links is None:
                return
            await self._refuse_recovery(links.lease)
            leadership = Leadership(links.lease, self._settings.relay_lease_seconds, self._me)
            self._stands("standby")
            try:
                epoch = await leadership.wait_to_lead(self._stopping)
                if epoch is None:
                    return
                async with asyncio.TaskGroup() as group:
                    # From the first moment: finding the cursor's place in a long backlog takes longer than a lease.
                    keeping = group.create_task(leadership.keep(epoch))
                    await self._reign(stack, links, epoch)
                    keeping.cancel()
            finally:
                await leadership.release()
            log.info("handed_over", epoch=epoch)

    async def _refuse_recovery(self, connection: Database) -> None:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            self._stands("none", "the database is in recovery")
            raise InRecoveryError("DATABASE_URL leads to a server in recovery")

    async def _reign(self, stack: contextlib.AsyncExitStack, links: "_Links", epoch: int) -> None:
        metrics.LEADER.set(1)
        metrics.EPOCH.set(epoch)
        self._stands("leader", "the cursor's place is not found yet", epoch)
        log.info("leading", epoch=epoch)
        reader = Reader(links.reader, self._settings.relay_page_size)
        carrier = Carrier(self._settings, reader, links.cursor, epoch)
        stack.push_async_callback(carrier.publisher.close)
        destinations = partitions.Destinations(links.queues, carrier.publisher, carrier, complete=self._queues_complete)
        if not await self._or_stop(self._prepare(links, reader, carrier, destinations, epoch)):
            return
        self._vitals.standing = Standing(
            "leader", None, epoch, lambda: carrier.turned_at, lambda: carrier.oldest_sent_at
        )
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(move_due_rows(links.due, links.late)),
                group.create_task(destinations.watch()),
                group.create_task(partitions.keep_segments(links.segments, self._retention, self._inbox_retention)),
                group.create_task(self._stop_when_asked(carrier)),
                group.create_task(_lost(carrier)),
            ]
            await carrier.run()
            for task in beside:
                task.cancel()

    async def _prepare(
        self, links: "_Links", reader: Reader, carrier: Carrier, destinations: partitions.Destinations, epoch: int
    ) -> bool:
        """Everything before the first event: the cursor's place, the broker, the required queues. True when done."""
        adopted = await adopt(links.reader)
        if adopted is not None:
            log.warning("cluster_adopted", **asdict(adopted))
        await reader.resume()
        # Before the broker: writers need segments also while it is away.
        await partitions.keep_partitions_ahead(links.segments)
        self._stands("leader", "the broker does not answer", epoch)
        await carrier.publisher.open(self._settings.amqp_url)
        await destinations.check()
        await listen.listen(links.lease, carrier.wake)
        return True

    async def _stop_when_asked(self, carrier: Carrier) -> None:
        await self._stopping.wait()
        carrier.stop()
        await asyncio.sleep(DRAIN_SECONDS)
        raise PublisherLostError(f"not everything in flight was confirmed within {DRAIN_SECONDS} s of stopping")

    async def _or_stop(self, work: Coroutine[None, None, T]) -> T | None:
        """The result of `work`, or None when the relay is stopped first; `work` has ended either way."""
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

    def _stands(self, role: Role, waits_for: str | None = None, epoch: int | None = None) -> None:
        self._vitals.standing = Standing(role, waits_for, epoch)


async def _lost(carrier: Carrier) -> None:
    raise PublisherLostError(await carrier.publisher.lost)
