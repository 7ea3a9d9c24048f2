"""Build the relay, run it, stop it on SIGTERM with nothing in flight forgotten.

A session is one reign: connections, lease, carrier, housekeeping. Whatever ends it, a broker gone, a database gone, a
lease lost, the next session begins from the cursor after a pause that grows while sessions fail at once.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine

import asyncpg
import uvloop
from asyncpg import Connection, Record
from prometheus_client import start_http_server

from outbox.reader import ONE_PLAN, FencedError, Reader
from relay import housekeeping, metrics
from relay.carrier import Carrier
from relay.leadership import Leadership
from relay.publisher import PublisherLostError
from runtime.logging import configure_logging, get_logger
from runtime.settings import Settings, load_settings

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
DRAIN_SECONDS = 20.0

# What asyncpg raises for a session that is gone; InternalClientError when it goes at the very start of a statement.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = get_logger(__name__)


class Relay:
    """Sessions, one after another, until stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish what is in flight, hand over, return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Lead and carry, or wait for the leader to go, until stopped."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            try:
                await self._session()
            except* (PublisherLostError, FencedError, *DATABASE_ERRORS) as group:
                log.warning("session_ended", reasons=_reasons(group))
            metrics.LEADER.set(0)
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _session(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            cursor, lease, chores, queues = [await stack.enter_async_context(self._connect()) for _ in range(4)]
            leadership = Leadership(lease, self._settings.relay_lease_seconds)
            epoch = await self._or_stop(leadership.wait_to_lead())
            if epoch is None:
                return
            stack.push_async_callback(_release, leadership, epoch)
            async with asyncio.TaskGroup() as group:
                # From the first moment: finding the cursor's place in a long backlog takes longer than a lease.
                keeping = group.create_task(leadership.keep(epoch))
                await self._reign(Reader(cursor, self._settings.relay_page_size), epoch, chores, queues)
                keeping.cancel()

    async def _reign(
        self, reader: Reader, epoch: int, chores: "Connection[Record]", queues: "Connection[Record]"
    ) -> None:
        metrics.LEADER.set(1)
        metrics.EPOCH.set(epoch)
        log.info("leading", epoch=epoch)
        await reader.resume()
        carrier = Carrier(self._settings, reader, epoch)

        def hold(publishing: bool) -> None:
            carrier.hold(publishing=publishing)

        try:
            await carrier.publisher.open(self._settings.amqp_url)
            await housekeeping.check_destinations(queues, carrier.publisher, hold)
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(housekeeping.move_due_rows(chores)),
                    group.create_task(housekeeping.watch(queues, carrier.publisher, hold)),
                    group.create_task(self._stop_when_asked(carrier)),
                    group.create_task(_lost(carrier)),
                ]
                await carrier.run()
                for task in beside:
                    task.cancel()
        finally:
            await carrier.publisher.close()
        log.info("handed_over", epoch=epoch)

    async def _stop_when_asked(self, carrier: Carrier) -> None:
        await self._stopping.wait()
        carrier.stop()
        await asyncio.sleep(DRAIN_SECONDS)
        raise PublisherLostError(f"not everything in flight was confirmed within {DRAIN_SECONDS} s of stopping")

    async def _or_stop(self, waiting: Coroutine[None, None, int]) -> int | None:
        """The result of `waiting`, or None when the relay is stopped first."""
        task = asyncio.create_task(waiting)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator["Connection[Record]"]:
        connection = await asyncpg.connect(
            self._settings.database_url,
            timeout=10,
            command_timeout=30,
            server_settings={
                "application_name": "waybill-relay",
                "timezone": "UTC",
                **ONE_PLAN,
            },
        )
        try:
            yield connection
        finally:
            with contextlib.suppress(*DATABASE_ERRORS):
                await connection.close(timeout=2)


def _reasons(group: BaseExceptionGroup[Exception]) -> list[str]:
    """What ended a session, also from the group within the group."""
    reasons: list[str] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            reasons += _reasons(error)
        else:
            reasons.append(f"{type(error).__name__}: {error}")
    return reasons


async def _lost(carrier: Carrier) -> None:
    raise PublisherLostError(await carrier.publisher.lost)


async def _release(leadership: Leadership, epoch: int) -> None:
    with contextlib.suppress(*DATABASE_ERRORS):
        await leadership.release(epoch)


async def _main(settings: Settings) -> None:
    relay = Relay(settings)
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, relay.stop)
    if settings.relay_metrics_port:
        start_http_server(settings.relay_metrics_port, addr="127.0.0.1")
    await relay.run()


def main() -> None:
    """Run the relay until SIGTERM."""
    settings = load_settings()
    configure_logging(settings, "relay")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings))


if __name__ == "__main__":
    main()
