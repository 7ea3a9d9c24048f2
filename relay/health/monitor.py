"""Monitor of the outbox and of Postgres: a thread with its own event loop and connection. Started by `relay.__main__`.

Its gauges stay true while the relay's loop hangs, while there is no broker, and in a standby. Ages keep growing between
two readings and while Postgres is away, because they are computed at each scrape. The outbox is read first: a failure
to read Postgres's own figures does not hide the events that wait.
"""

import asyncio
import contextlib
import threading
import time
from types import TracebackType
from typing import Self

from asyncpg import Connection, Record

from outbox.cursor.backlog import OpenTransaction, backlog, oldest_transaction
from outbox.partitions.create import segments_left
from outbox.segments import EVENTS, PAGES
from relay.connections import DATABASE_ERRORS, connected
from relay.health import metrics
from relay.health.postgres import PostgresStats
from runtime.age import NO_AGE, Age
from runtime.logging import get_logger
from runtime.loops import Backoff
from runtime.redaction.redact import without_literals
from runtime.settings import Settings

CHECK_SECONDS = 2.0
CHECK_LIMIT_SECONDS = 15.0
POSTGRES_LIMIT_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 5.0
HOLDS_BACK_SECONDS = 5.0
NAMED_AGAIN_SECONDS = 60.0

log = get_logger(__name__)


class Monitor:
    """The thread as a context manager: it runs inside, and has ended after it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="monitor", daemon=True)
        self._oldest_event = self._oldest_transaction = NO_AGE
        self._named: dict[int, float] = {}
        self._postgres = PostgresStats()
        self._postgres_at = 0.0
        metrics.OLDEST_UNPUBLISHED.set_function(self._oldest_event_seconds)
        metrics.OLDEST_TRANSACTION.set_function(self._oldest_transaction_seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):  # a closed loop: the thread has ended by itself
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(STOP_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    async def run_once(self, connection: "Connection[Record]") -> None:
        """Read once and set every gauge: the outbox's first, then those of Postgres, which may fail."""
        async with asyncio.timeout(CHECK_LIMIT_SECONDS):
            behind = await backlog(connection)
            seen_at = time.monotonic()
            transaction = await oldest_transaction(connection)
            left = {series.table: await segments_left(connection, series) for series in (EVENTS, PAGES)}
        metrics.BACKLOG.set(behind.events)
        for table, segments in left.items():
            metrics.SEGMENTS_LEFT.labels(table).set(segments)
        self._oldest_event = Age(behind.oldest_seconds, seen_at)
        self._oldest_transaction = Age(None if transaction is None else transaction.age_seconds, seen_at)
        self._name(transaction)
        metrics.MONITOR_SUCCESS.set_to_current_time()
        await self._read_postgres(connection)

    async def _read_postgres(self, connection: "Connection[Record]") -> None:
        if time.monotonic() < self._postgres_at:
            return
        try:
            async with asyncio.timeout(POSTGRES_LIMIT_SECONDS):
                await self._postgres.read(connection)
            metrics.POSTGRES_SUCCESS.set_to_current_time()
        except DATABASE_ERRORS as error:
            described = f"{type(error).__name__}: {error}"
            log.warning("postgres_not_monitored", error=described, retry_in_seconds=LONGEST_PAUSE_SECONDS)
            self._postgres_at = time.monotonic() + LONGEST_PAUSE_SECONDS

    def _oldest_event_seconds(self) -> float:
        return self._oldest_event.now()

    def _oldest_transaction_seconds(self) -> float:
        return self._oldest_transaction.now()

    def _name(self, transaction: OpenTransaction | None) -> None:
        """Log which transaction holds its events back, once a minute for each."""
        now = time.monotonic()
        self._named = {pid: at for pid, at in self._named.items() if now - at < NAMED_AGAIN_SECONDS}
        if transaction is None or not transaction.running or transaction.age_seconds < HOLDS_BACK_SECONDS:
            return
        if transaction.pid not in self._named:
            self._named[transaction.pid] = now
            log.warning(
                "transaction_holds_back",
                pid=transaction.pid,
                age_seconds=round(transaction.age_seconds, 1),
                query=without_literals(transaction.query),
                application_name=transaction.application_name,
            )

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self._keep_reading())

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _keep_reading(self) -> None:
        """Read until cancelled, with a pause that grows while Postgres is away."""
        backoff = Backoff(CHECK_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                async with connected(self._settings, "waybill-relay-monitor") as connection:
                    while True:
                        await self.run_once(connection)
                        backoff.reset()
                        await asyncio.sleep(CHECK_SECONDS)
            except DATABASE_ERRORS as error:
                pause = backoff.next()
                log.warning("outbox_not_monitored", error=f"{type(error).__name__}: {error}", retry_in_seconds=pause)
                await asyncio.sleep(pause)
