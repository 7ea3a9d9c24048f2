"""A thread that asks Postgres how far behind the outbox is and how it is itself, on a loop and connection of its own.

So its figures stay true when the relay's loop hangs, when there is no broker, and in a standby. Ages go on growing
between two looks and while Postgres is away: they are computed when they are asked for. The outbox comes first: what
cannot be read of Postgres itself makes nobody blind for the events that wait.
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
from relay.health.postgres import PostgresFigures
from runtime.age import NOTHING, Since
from runtime.logging import get_logger
from runtime.redaction.redact import without_literals
from runtime.settings import Settings

LOOK_SECONDS = 2.0
LOOK_LIMIT_SECONDS = 15.0
POSTGRES_LIMIT_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 5.0
HOLDS_BACK_SECONDS = 5.0
NAMED_AGAIN_SECONDS = 60.0

log = get_logger(__name__)


class Monitor:
    """The thread as a context: it looks inside, and is gone after it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="monitor", daemon=True)
        self._oldest_event = self._oldest_transaction = NOTHING
        self._named: dict[int, float] = {}
        self._postgres = PostgresFigures()
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
        """Look once and set every figure: the outbox's, and then those of Postgres, which may fail."""
        async with asyncio.timeout(LOOK_LIMIT_SECONDS):
            behind = await backlog(connection)
            seen_at = time.monotonic()
            transaction = await oldest_transaction(connection)
            left = {series.table: await segments_left(connection, series) for series in (EVENTS, PAGES)}
        metrics.BACKLOG.set(behind.events)
        for table, segments in left.items():
            metrics.SEGMENTS_LEFT.labels(table).set(segments)
        self._oldest_event = Since(behind.oldest_seconds, seen_at)
        self._oldest_transaction = Since(None if transaction is None else transaction.age_seconds, seen_at)
        self._name(transaction)
        metrics.MONITOR_SUCCESS.set_to_current_time()
        await self._look_at_postgres(connection)

    async def _look_at_postgres(self, connection: "Connection[Record]") -> None:
        if time.monotonic() < self._postgres_at:
            return
        try:
            async with asyncio.timeout(POSTGRES_LIMIT_SECONDS):
                await self._postgres.read(connection)
            metrics.POSTGRES_SUCCESS.set_to_current_time()
        except DATABASE_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            log.warning("postgres_not_watched", reason=reason, again_in_seconds=LONGEST_PAUSE_SECONDS)
            self._postgres_at = time.monotonic() + LONGEST_PAUSE_SECONDS

    def _oldest_event_seconds(self) -> float:
        return self._oldest_event.now()

    def _oldest_transaction_seconds(self) -> float:
        return self._oldest_transaction.now()

    def _name(self, transaction: OpenTransaction | None) -> None:
        """Say which transaction holds its events back, once a minute for each."""
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
            runner.run(self._look())

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _look(self) -> None:
        """Look until cancelled, with a pause that grows while Postgres is away."""
        pause = LOOK_SECONDS
        while True:
            try:
                async with connected(self._settings, "waybill-relay-monitor") as connection:
                    while True:
                        await self.run_once(connection)
                        pause = LOOK_SECONDS
                        await asyncio.sleep(LOOK_SECONDS)
            except DATABASE_ERRORS as error:
                log.warning("monitor_is_blind", reason=f"{type(error).__name__}: {error}", again_in_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
