"""Check of the required queues: publishing is held while one is missing. Run by `relay.session`.

The broker confirms an event as soon as one queue took it, also while another queue that should get a copy is missing.
So the cursor advances only past pages that were confirmed before the start of a check that found every queue. After a
check that misses one, nothing is published until it is back; then the events that the cursor has not advanced past are
published again. `waybill topology apply` writes the list of required queues.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from asyncpg import Connection, Record

from outbox.required_queues import required
from relay.health import metrics
from relay.publisher import Publisher, PublisherLostError
from runtime.logging import get_logger
from runtime.loops import sleep_until

CHECK_SECONDS = 5.0
MISSING_SECONDS = 1.0  # while a queue is missing, or is back and not trusted yet
CHECKS_APART_SECONDS = 0.25  # while pages wait; a check of 17 queues costs 4 ms of CPU

log = get_logger(__name__)


class QueuesMissingError(PublisherLostError):
    """Required queues went missing under events that the cursor has not advanced past: all are published again."""


class Stream(Protocol):
    """What a check needs of `relay.pipeline.Pipeline`."""

    check_wanted: asyncio.Event

    @property
    def open_events(self) -> int:
        """Events that may have been confirmed while a queue was missing."""

    def hold(self, *, publishing: bool) -> None:
        """Stop or resume publishing."""

    def queues_checked(self, began: float) -> None:
        """A check that began then found every queue."""


class RequiredQueues:
    """The required queues during one term. `complete`: whether the last check of the previous term found all."""

    def __init__(
        self, connection: "Connection[Record]", publisher: Publisher, stream: Stream, *, complete: bool
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._stream = stream
        self._complete = self._publishing = complete

    async def check(self) -> None:
        """Check once: hold publishing while a required queue is missing, and log which.

        Raises QueuesMissingError if open events may lack a copy: which of them do is not known.
        """
        began = asyncio.get_running_loop().time()
        queues = await required(self._connection)
        missing = await self._publisher.missing(queues)
        before, self._complete = self._complete, bool(queues) and not missing
        _report(queues, missing, back=self._complete and not before)
        # A queue that is back is bound a moment after it is declared: it counts from the second check on.
        self._publishing = self._complete and before
        self._stream.hold(publishing=self._publishing)
        metrics.HELD.set(not self._publishing)
        if self._complete:
            self._stream.queues_checked(began)
        elif before and self._stream.open_events:
            raise QueuesMissingError(f"required queues went missing under events on their way: {missing}")

    async def watch(self) -> None:
        """Check until cancelled: every few seconds, and sooner for a page that waits or a queue that is missing."""
        while True:
            await self.check()
            await asyncio.sleep(CHECKS_APART_SECONDS)
            longest = CHECK_SECONDS if self._publishing else MISSING_SECONDS
            await sleep_until(self._stream.check_wanted, longest - CHECKS_APART_SECONDS)
            self._stream.check_wanted.clear()


def _report(queues: Sequence[str], missing: Sequence[str], *, back: bool) -> None:
    metrics.MISSING_DESTINATIONS.set(len(missing))
    if missing:
        log.error("required_queues_missing", queues=missing, remedy="waybill topology apply")
    if not queues:
        log.error("no_required_queues", remedy="waybill topology apply")
    if back:
        log.info("required_queues_back")
