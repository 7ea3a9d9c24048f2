"""Sweep of the broker's dead-letter queues into `outbox.dead_letters`, exactly once.

Run by `consumers.collector.process`. A batch is taken from one queue, stored in one transaction, and acknowledged after
the commit. If the process dies in between, the broker delivers the batch again, and the dead letters' keys make one
dead letter of both copies. No batch is taken while Postgres is away, and a batch taken before an outage goes back to
the broker. A dead letter that Postgres refuses is kept in a form that it accepts, so that it does not block the
messages behind it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.collector import metrics
from consumers.collector.classify import bare, dead_letter_of, inspect
from consumers.collector.queues import BROKER_ERRORS, SOURCES, DeadLetterQueues, Taken
from orders.workflow import BY_QUEUE
from outbox.dead_letters.store import NewDeadLetter, causes, store
from outbox.partitions.horizon import horizon
from runtime.database import may_pass
from runtime.logging import get_logger
from runtime.loops import Backoff, sleep_until
from runtime.redaction.redact import excerpt, unquoted
from runtime.settings import Settings

EMPTY_SECONDS = 0.5  # between two sweeps of queues that were empty
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
STORE_SECONDS = 60.0  # one batch, well within what the broker waits for an acknowledgement

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep of every queue: messages taken, dead letters that were new, queues that do not exist."""

    taken: int
    stored: int
    missing: tuple[str, ...]


class Collector:
    """Sweeps the queues until it is stopped."""

    def __init__(self, settings: Settings, engine: AsyncEngine, stopping: asyncio.Event) -> None:
        self._engine = engine
        self._stopping = stopping
        self._queues = DeadLetterQueues(settings.amqp_url)
        self._turns = deque(SOURCES)  # a queue that fails has had its turn: the others come before it again
        self._missing: tuple[str, ...] = ()

    async def run(self) -> None:
        """Sweep until stopped; a failed sweep is repeated after a pause that grows."""
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while not self._stopping.is_set():
            try:
                sweep = await self.run_once()
            except Exception as error:  # noqa: BLE001 - a collector that ends collects nothing
                pause = backoff.next()
                _log_failed(error, pause)
                await self.close()
                await sleep_until(self._stopping, pause)
            else:
                backoff.reset()
                self._log_missing(sweep.missing)
                if not sweep.taken:
                    await sleep_until(self._stopping, EMPTY_SECONDS)
        await self.close()

    async def run_once(self) -> Sweep:
        """Collect one batch from each queue that has messages.

        Raises the errors of the broker and the database; `close` then returns the batch to the broker.
        """
        taken = stored = 0
        missing = []
        for _ in SOURCES:
            queue = self._turns[0]
            self._turns.rotate(-1)
            waiting = await asyncio.to_thread(partial(self._queues.waiting, queue))
            if waiting is None:
                missing.append(SOURCES[queue])
            elif waiting and not self._stopping.is_set():
                batch, fresh = await self._collect(queue)
                taken, stored = taken + len(batch), stored + len(fresh)
        metrics.MISSING_QUEUES.set(len(missing))
        metrics.COLLECTOR_SUCCESS.set_to_current_time()
        return Sweep(taken, stored, tuple(missing))

    async def close(self) -> None:
        """Close the connection; the broker gets every message back that was not acknowledged."""
        await asyncio.to_thread(self._queues.close)

    async def _collect(self, queue: str) -> tuple[Sequence[Taken], Sequence[NewDeadLetter]]:
        """One batch of one queue: taken, stored, acknowledged."""
        async with self._engine.begin() as tx:
            lowest = await horizon(tx)  # first, so that no batch is taken while Postgres is away
        batch = await asyncio.to_thread(partial(self._queues.take, queue))
        async with asyncio.timeout(STORE_SECONDS):
            fresh = await self._store(batch, lowest)
        _count(fresh)
        await asyncio.to_thread(partial(self._queues.acknowledge, batch))
        if batch:
            log.info("dead_letters_stored", queue=queue, dead_letters=len(fresh), copies=len(batch) - len(fresh))
        return batch, fresh

    async def _store(self, batch: Sequence[Taken], lowest: UUID | None) -> Sequence[NewDeadLetter]:
        """Store a batch in one transaction; each message in its own, if one of them cannot be stored as it is."""
        dead_letters = await self._classified(batch, lowest)
        try:
            return await self._commit(dead_letters)
        except DBAPIError as error:
            if may_pass(error):
                raise
            log.warning("batch_refused", error=_short(error), dead_letters=len(dead_letters))
        fresh: list[NewDeadLetter] = []
        for message, dead_letter in zip(batch, dead_letters, strict=True):
            fresh += await self._store_alone(message, dead_letter)
        return fresh

    async def _store_alone(self, message: Taken, dead_letter: NewDeadLetter) -> Sequence[NewDeadLetter]:
        try:
            return await self._commit([dead_letter])
        except DBAPIError as error:
            if may_pass(error):
                raise
            log.error("dead_letter_kept_bare", queue=dead_letter.queue, error=_short(error))  # noqa: TRY400 - no trace: content
            return await self._commit([bare(dead_letter, message)])

    async def _commit(self, dead_letters: Sequence[NewDeadLetter]) -> Sequence[NewDeadLetter]:
        async with self._engine.begin() as tx:
            return await store(tx, dead_letters)

    async def _classified(self, batch: Sequence[Taken], lowest: UUID | None) -> list[NewDeadLetter]:
        """The batch as dead letters, each with its cause from the inbox."""
        dead = [inspect(message) for message in batch]
        deliveries = [one.delivery for one in dead if one.delivery is not None]
        async with self._engine.begin() as tx:
            known = await causes(tx, deliveries)
        return [dead_letter_of(one, known.get(one.delivery) if one.delivery else None, lowest) for one in dead]

    def _log_missing(self, missing: tuple[str, ...]) -> None:
        if missing != self._missing:
            self._missing = missing
            if missing:
                log.error("dead_letter_queues_missing", queues=missing, remedy="waybill topology apply")
            else:
                log.info("dead_letter_queues_back")


def _count(fresh: Sequence[NewDeadLetter]) -> None:
    for (queue, reason), dead_letters in Counter((one.queue, one.reason) for one in fresh).items():
        metrics.DEAD_LETTERS_STORED.labels(metrics.queue_label(queue), reason).inc(dead_letters)
        if queue in BY_QUEUE:
            metrics.STEPS_DEAD_LETTERED.labels(BY_QUEUE[queue].name).inc(dead_letters)


def _log_failed(error: Exception, pause: float) -> None:
    if isinstance(error, BROKER_ERRORS) or may_pass(error):
        log.warning("collecting_postponed", error=_short(error), retry_in_seconds=pause)
    else:
        # The trace of a statement's error shows its parameters, which are dead letters.
        shown = None if isinstance(error, DBAPIError) else error
        log.error("collecting_failed", error=_short(error), retry_in_seconds=pause, exc_info=shown)


def _short(error: Exception) -> str:
    """An error without the statement's parameters and quoted values, which are content of dead letters."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(error).__name__}: {excerpt(unquoted(str(cause)), 300)}"
