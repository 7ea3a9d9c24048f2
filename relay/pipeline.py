"""Pipeline of one term: read a page → publish it → await its confirms → advance the cursor. Run by `relay.session`.

Three objects call each other back:

      publish_page()                                        advance()
            │ add_page(page)               complete_pages() ▲ │ advanced_past(n)
            ▼                                               │ ▼
    ┌──────────────────────────── InFlightWindow ────────────────────────────┐
    └───┬──────────────────────────────────────────────────────▲──────▲──────┘
        │ _publish(rows): their turn has come                  │      │
        ▼                                 settle(rows, outcome)│      │interrupted(rows): bisect
    ┌────────── Pipeline ──────────────────────────────────────┴──────┴──────┐
    └───┬──────────────────────────────────────────────────────▲──────▲──────┘
        │ publish(rows)               _on_settled(rows, outcome)│     │_on_refused(rows, reason)
        ▼                             confirm, nack, return    │      │channel closed
    ┌────────── Publisher ─────────────────────────────────────┴──────┴──────┐
    └────────────────────────────── AMQP, broker ────────────────────────────┘

Two loops share the window, and each has its own Postgres connection. So the next page is read while the last one is
being confirmed and while the cursor's commit waits for the disk. `publish_page` is one turn of the reading loop,
`advance` one turn of the other. Polling is fast while events come, backs off to a few tens of milliseconds while none
come, and starts at once on a hint (`relay.listen`).

The broker confirms an event as soon as one queue took it, also while another queue that should get a copy is missing.
So the cursor advances past a page only after a check of the required queues that began when the page was complete and
found all of them. Only the cursor in `outbox.pages` survives a lost connection or a failed check: the next session
starts there and publishes again every event that the cursor has not advanced past.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from asyncpg import Connection, Record

from outbox.cursor.log import ConfirmedPage
from outbox.cursor.log import advance as write_pages
from outbox.cursor.reader import Reader, Row
from outbox.dead_letters.unpublishable import dead_letter_unpublishable
from outbox.required_queues import required
from relay.health import metrics
from relay.in_flight import Bounds, InFlightWindow
from relay.publisher import Outcome, Publisher, PublisherLostError
from relay.traced_publisher import TracedPublisher
from runtime.logging import get_logger
from runtime.loops import Backoff
from runtime.settings import Settings
from runtime.tracing import tracer

SHORTEST_PAUSE_SECONDS = 0.001
ROOM_SECONDS = 1.0  # after this time the reading loop shows that it is alive, although there is no room
WARNING_SECONDS = 1.0

log = get_logger(__name__)


class Pipeline:
    """One term's pipeline from the outbox to the broker. The cursor is written through the connection `cursor`."""

    def __init__(self, settings: Settings, reader: Reader, cursor: "Connection[Record]", epoch: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._reader = reader
        self._cursor = cursor
        self._epoch = epoch
        publisher = TracedPublisher if tracer.is_on() else Publisher
        self._publisher = publisher(settings.event_exchange, self._on_settled, self._on_refused)
        self._work = asyncio.Event()  # work for the loop that advances the cursor
        self._checked_at = 0.0
        bounds = Bounds(
            settings.relay_window, settings.relay_open_events, settings.relay_open_bytes, settings.relay_page_size
        )
        self.check_wanted = asyncio.Event()
        self._window = InFlightWindow(self._publish, bounds, self.check_wanted.set)
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
        """Events that are read and that the cursor has not advanced past."""
        return self._window.open_events

    @property
    def oldest_sent_at(self) -> datetime | None:
        """When the oldest open page was published. Safe to call from another thread."""
        return self._window.oldest_sent_at

    def queues_checked(self, began: float) -> None:
        """A check of the required queues that began then, by the loop's clock, found all of them."""
        self._checked_at = began
        self._work.set()

    def wake(self) -> None:
        """Poll at once: a writer has committed events."""
        self._woken.set()

    def stop(self) -> None:
        """Read no more pages.

        `run` returns once the open events are confirmed and advanced past, or refused, or held.
        """
        self._stopping.set()
        self._woken.set()

    def hold(self, *, publishing: bool) -> None:
        """Stop or resume publishing: a required queue is missing, or is back."""
        if publishing:
            self._window.release("queues")
        else:
            self._window.hold("queues")

    async def run(self) -> None:
        """Run both loops until stopped. Raises PublisherLostError, FencedError, or the database driver's errors."""
        try:
            async with asyncio.TaskGroup() as group:
                cursor = group.create_task(self._keep_advancing())
                reading = group.create_task(self._keep_reading())
                await self._stopping.wait()
                reading.cancel()
                await self._window.drained()
                cursor.cancel()
        finally:
            # A late confirm, or an event whose retry is due, must not publish anything in another relay's term.
            self._window.hold("ended")

    async def publish_page(self) -> int:
        """Read the next page and publish it. Returns its number of events, 0 if there are no new ones."""
        self.turned_at = time.monotonic()
        if self._publisher.lost.done():
            raise PublisherLostError(self._publisher.lost.result())
        page = await self._reader.next_page()
        if page is None:
            return 0
        self._window.add_page(page, datetime.now(UTC))
        self._gauge()
        return len(page.rows)

    async def advance(self) -> int:
        """Settle the events that need a query first, then advance past the complete pages. Returns their events."""
        if self._channel_closed:
            await self._publisher.reopen()
            self._channel_closed = False
            self._window.release("channel")
        await self._settle_returned()
        await self._dead_letter_unpublishable()
        pages = self._window.complete_pages(until=self._checked_at)
        if not pages:
            return 0
        carried = [ConfirmedPage(page.page, page.sent_at, page.confirmed_at) for page in pages]
        number = await write_pages(self._cursor, self._epoch, carried)
        self._window.advanced_past(len(pages))
        self._gauge()
        for page in pages:
            metrics.PAGE_EVENTS.observe(len(page.page.rows))
        log.debug("pages_confirmed", page=number, pages=len(pages), last_id=pages[-1].page.rows[-1].id)
        return sum(len(page.page.rows) for page in pages)

    async def _keep_reading(self) -> None:
        backoff = Backoff(SHORTEST_PAUSE_SECONDS, self._settings.relay_idle_poll_seconds)
        while not self._stopping.is_set():
            if not self._window.has_room and not await self._window.wait_for_room(ROOM_SECONDS):
                self.turned_at = time.monotonic()
                continue
            events = await self.publish_page()
            if events >= self._settings.relay_page_size:
                continue
            # A page that is not full held all there was. A moment later more events can share one statement.
            if events:
                backoff.reset()
            await self._pause(backoff.next())

    async def _keep_advancing(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            await self.advance()

    async def _pause(self, seconds: float) -> None:
        # A timer that sets the event, not a time limit: raising at each idle poll cost 0.3 % of a core.
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

    def _on_settled(self, rows: Sequence[Row], outcome: Outcome) -> None:
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
            self._window.settle(rows, outcome)

    def _on_refused(self, rows: Sequence[Row], reason: str) -> None:
        """The broker closed the channel because of one of these events: search for it on another channel."""
        log.warning("channel_closed_by_an_event", suspects=len(rows), error=reason)
        self._channel_closed = True
        self._window.hold("channel")
        found = self._window.interrupted(rows)
        if found is not None:
            self._unpublishable.append((found, reason))
        self._work.set()

    async def _settle_returned(self) -> None:
        """Retry a returned event if its queue is required, because it will be declared; dead-letter it otherwise."""
        returned, self._returned = self._returned, []
        if not returned:
            return
        expected = {None, *await required(self._cursor)}
        self._window.settle([row for row in returned if row.destination in expected], Outcome.RETURNED)
        self._unpublishable += [
            (row, f"there is no queue {row.destination!r}, and none of that name is required")
            for row in returned
            if row.destination not in expected
        ]

    async def _dead_letter_unpublishable(self) -> None:
        unpublishable, self._unpublishable = self._unpublishable, []
        for row, reason in unpublishable:
            queue = row.destination or self._settings.event_exchange
            dead_letter = await dead_letter_unpublishable(self._cursor, self._epoch, row, queue, reason)
            log.error(
                "event_dead_lettered",
                event_id=str(row.event_id),
                type=row.type,
                to=queue,
                error=reason,
                dead_letter=dead_letter,
            )
            metrics.SETTLED.labels(Outcome.UNPUBLISHABLE.value).inc()
            self._window.settle([row], Outcome.UNPUBLISHABLE)

    def _warn(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """One line for the first refusal and then one a second: a full queue refuses thousands."""
        self._refusals += len(rows)
        now = time.monotonic()
        if now - self._warned_at >= WARNING_SECONDS:
            row = rows[0]
            log.warning(
                "event_not_confirmed",
                outcome=outcome.value,
                event_id=str(row.event_id),
                to=row.destination,
                refusals=self._refusals,
            )
            self._refusals, self._warned_at = 0, now

    def _gauge(self) -> None:
        metrics.IN_FLIGHT.set(self._window.in_flight)
        metrics.OPEN_EVENTS.set(self._window.open_events)
