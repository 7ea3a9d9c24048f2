"""Two loops over one flight: one reads pages and publishes them, one moves the cursor past those that are confirmed.

They share nothing but the flight, and each has its own connection: the next page is read while the last is being
confirmed and while the cursor's commit waits for the disk. `take_on` and `advance` are their single turns. Polling is
fast while events come, backs off to a few tens of milliseconds when none do, and starts at once on a hint.

The broker confirms an event that any queue took, also while another one that should have a copy is missing. So the
cursor passes a page only after a look at the required queues that began when the page was complete and found them all.
Nothing survives a lost connection, or a look that misses one, but the cursor in `outbox.pages`: the next session starts
from there and publishes again what it has not passed.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from asyncpg import Connection, Record

from outbox.cursor.log import ConfirmedPage
from outbox.cursor.log import advance as write_pages
from outbox.cursor.reader import Reader, Row
from outbox.dead_letters.store import dead_letter_unpublishable
from outbox.required_queues import required
from relay.health import metrics
from relay.in_flight import Bounds, Flight
from relay.publisher import Outcome, Publisher, PublisherLostError
from relay.traced_publisher import TracedPublisher
from runtime.logging import get_logger
from runtime.settings import Settings
from runtime.tracing import tracer

SHORTEST_PAUSE_SECONDS = 0.001
ROOM_SECONDS = 1.0  # the reader's loop shows that it lives, although there is no room
WARNING_SECONDS = 1.0

log = get_logger(__name__)


class Carrier:
    """One reign's stream from the outbox to the broker. `cursor` is the connection that moves the cursor."""

    def __init__(self, settings: Settings, reader: Reader, cursor: "Connection[Record]", epoch: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._reader = reader
        self._cursor = cursor
        self._epoch = epoch
        publisher = TracedPublisher if tracer.is_on() else Publisher
        self._publisher = publisher(settings.event_exchange, self._settled, self._refused)
        self._work = asyncio.Event()  # something for the cursor's loop
        self._looked_at = 0.0
        bounds = Bounds(
            settings.relay_window, settings.relay_open_events, settings.relay_open_bytes, settings.relay_page_size
        )
        self.wants_look = asyncio.Event()
        self._flight = Flight(self._publish, bounds, self.wants_look.set)
        self._returned: list[Row] = []
        self._unpublishable: list[tuple[Row, str]] = []
        self._channel_closed = False
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._refusals, self._warned_at = 0, 0.0
        self.turned_at = time.monotonic()

    @property
    def publisher(self) -> Publisher:
        """The connection to the broker."""
        return self._publisher

    @property
    def open_events(self) -> int:
        """Events read and not passed by the cursor."""
        return self._flight.open_events

    @property
    def oldest_sent_at(self) -> datetime | None:
        """When the oldest page was sent that the cursor has not passed. Safe to ask from another thread."""
        return self._flight.oldest_sent_at

    def looked(self, began: float) -> None:
        """All required queues were there in a look that began then, by the clock of the loop."""
        self._looked_at = began
        self._work.set()

    def wake(self) -> None:
        """Look for new events at once: somebody has committed some."""
        self._woken.set()

    def stop(self) -> None:
        """Take on nothing more; `run` returns once what was taken on is confirmed and passed, or is refused or held."""
        self._stopping.set()
        self._woken.set()

    def hold(self, *, publishing: bool) -> None:
        """Stop or resume publishing: a required queue is missing, or is back."""
        if publishing:
            self._flight.release("queues")
        else:
            self._flight.hold("queues")

    async def run(self) -> None:
        """Carry until stopped. Raises PublisherLostError, FencedError, or what the database driver raises."""
        try:
            async with asyncio.TaskGroup() as group:
                cursor = group.create_task(self._keep_advancing())
                reading = group.create_task(self._keep_reading())
                await self._stopping.wait()
                reading.cancel()
                await self._flight.at_rest()
                cursor.cancel()
        finally:
            # Confirms that still come, and events that rest, must not have anything published in another's reign.
            self._flight.hold("ended")

    async def take_on(self) -> int:
        """One turn of the reader: the next page is read and published; how many events it has, 0 for nothing new."""
        self.turned_at = time.monotonic()
        if self._publisher.lost.done():
            raise PublisherLostError(self._publisher.lost.result())
        page = await self._reader.next_page()
        if page is None:
            return 0
        self._flight.launch(page, datetime.now(UTC))
        self._gauge()
        return len(page.rows)

    async def advance(self) -> int:
        """One turn of the cursor: settle what needs a word with the database, pass what is complete; events passed."""
        if self._channel_closed:
            await self._publisher.reopen()
            self._channel_closed = False
            self._flight.release("channel")
        await self._sort_returned()
        await self._set_aside()
        pages = self._flight.complete(until=self._looked_at)
        if not pages:
            return 0
        carried = [ConfirmedPage(page.page, page.sent_at, page.confirmed_at) for page in pages]
        number = await write_pages(self._cursor, self._epoch, carried)
        self._flight.passed(len(pages))
        self._gauge()
        for page in pages:
            metrics.PAGE_EVENTS.observe(len(page.page.rows))
        log.debug("pages_confirmed", page=number, pages=len(pages), last_id=pages[-1].page.rows[-1].id)
        return sum(len(page.page.rows) for page in pages)

    async def _keep_reading(self) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        while not self._stopping.is_set():
            if not self._flight.has_room and not await self._flight.room(ROOM_SECONDS):
                self.turned_at = time.monotonic()
                continue
            taken_on = await self.take_on()
            if taken_on >= self._settings.relay_page_size:
                continue
            # A page that is not full is all there was: a moment later there may be more to share its statements.
            pause = SHORTEST_PAUSE_SECONDS if taken_on else min(pause * 2, self._settings.relay_idle_poll_seconds)
            await self._pause(pause)

    async def _keep_advancing(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            await self.advance()

    async def _pause(self, seconds: float) -> None:
        # A timer that wakes, not a time limit: raising at each idle poll cost 0.3 % of a core.
        timer = self._loop.call_later(seconds, self._woken.set)
        await self._woken.wait()
        timer.cancel()
        self._woken.clear()

    def _publish(self, rows: Sequence[Row]) -> None:
        unpublishable = self._publisher.publish(rows)
        metrics.PUBLISHED.inc(len(rows) - len(unpublishable))
        if unpublishable:
            self._unpublishable += unpublishable
            self._work.set()

    def _settled(self, rows: Sequence[Row], outcome: Outcome) -> None:
        metrics.SETTLED.labels(outcome.value).inc(len(rows))
        if outcome is Outcome.CONFIRMED:
            now = datetime.now(UTC)
            for row in rows:
                metrics.COMMIT_TO_CONFIRM.observe((now - row.recorded_at).total_seconds())
        else:
            self._warn(rows, outcome)
        if outcome is Outcome.RETURNED:
            self._returned += rows
            self._work.set()
        else:
            self._flight.settle(rows, outcome)

    def _refused(self, rows: Sequence[Row], reason: str) -> None:
        """The broker closed the channel because of one of these: find out which, on another channel."""
        log.warning("channel_closed_by_an_event", suspects=len(rows), reason=reason)
        self._channel_closed = True
        self._flight.hold("channel")
        found = self._flight.interrupted(rows)
        if found is not None:
            self._unpublishable.append((found, reason))
        self._work.set()

    async def _sort_returned(self) -> None:
        """A returned event waits for a queue that must exist, and is set aside where nobody says that it should."""
        returned, self._returned = self._returned, []
        if not returned:
            return
        expected = {None, *await required(self._cursor)}
        self._flight.settle([row for row in returned if row.destination in expected], Outcome.RETURNED)
        self._unpublishable += [
            (row, f"there is no queue {row.destination!r}, and none of that name is required")
            for row in returned
            if row.destination not in expected
        ]

    async def _set_aside(self) -> None:
        unpublishable, self._unpublishable = self._unpublishable, []
        for row, reason in unpublishable:
            queue = row.destination or self._settings.event_exchange
            dead_letter = await dead_letter_unpublishable(self._cursor, self._epoch, row, queue, reason)
            log.error(
                "event_set_aside",
                event_id=str(row.event_id),
                type=row.type,
                to=queue,
                why=reason,
                dead_letter=dead_letter,
            )
            metrics.SETTLED.labels(Outcome.UNPUBLISHABLE.value).inc()
            self._flight.settle([row], Outcome.UNPUBLISHABLE)

    def _warn(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """A line for the first refusal and then one a second: a full queue refuses thousands."""
        self._refusals += len(rows)
        now = time.monotonic()
        if now - self._warned_at >= WARNING_SECONDS:
            row = rows[0]
            log.warning(
                "event_not_taken",
                outcome=outcome.value,
                event_id=str(row.event_id),
                to=row.destination,
                refusals=self._refusals,
            )
            self._refusals, self._warned_at = 0, now

    def _gauge(self) -> None:
        metrics.IN_FLIGHT.set(self._flight.in_flight)
        metrics.OPEN_EVENTS.set(self._flight.open_events)
