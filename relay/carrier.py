"""The loop: page -> publish -> confirm -> advance. The next page is read while the last is being confirmed.

`run_once` takes on what the window has room for and moves the cursor past the pages that are wholly confirmed; the
loop around it waits. Polling is fast while events come and backs off to a few tens of milliseconds when none do.
Nothing survives a lost connection but the cursor in `outbox.pages`: the next session starts from there and publishes
again what was not confirmed.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from outbox.reader import Reader, Row
from relay import metrics
from relay.flight import Flight, PageInFlight
from relay.publisher import Outcome, Publisher, PublisherLostError
from runtime.logging import get_logger
from runtime.settings import Settings

SHORTEST_PAUSE_SECONDS = 0.001

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Carried:
    """What one turn did: events taken on, events that the cursor has passed."""

    launched: int
    confirmed: int


class Carrier:
    """One reign's stream from the outbox to the broker."""

    def __init__(self, settings: Settings, reader: Reader, epoch: int) -> None:
        self._settings = settings
        self._reader = reader
        self._epoch = epoch
        self._publisher = Publisher(settings.event_exchange, self._settled)
        self._flight = Flight(self._publish, settings.relay_window)
        self._stopping = asyncio.Event()
        self._may_publish = asyncio.Event()
        self._may_publish.set()

    @property
    def publisher(self) -> Publisher:
        """The connection to the broker."""
        return self._publisher

    def stop(self) -> None:
        """Take on nothing more; `run` returns once everything in flight is confirmed and the cursor is past it."""
        self._stopping.set()

    def hold(self, *, publishing: bool) -> None:
        """Stop or resume taking on pages: a required queue is missing, or is back."""
        if publishing:
            self._may_publish.set()
        else:
            self._may_publish.clear()

    async def run(self) -> None:
        """Carry until stopped. Raises PublisherLostError, FencedError, or what the database driver raises."""
        pause = SHORTEST_PAUSE_SECONDS
        while not (self._stopping.is_set() and self._flight.empty):
            carried = await self.run_once()
            if carried.launched or carried.confirmed:
                pause = SHORTEST_PAUSE_SECONDS
            elif self._flight.held:
                await self._flight.progress(self._settings.relay_idle_poll_seconds)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._settings.relay_idle_poll_seconds)

    async def run_once(self) -> Carried:
        """One turn: launch pages while there is room, then move the cursor past the complete ones."""
        if self._publisher.lost.done():
            raise PublisherLostError(self._publisher.lost.result())
        launched = await self._launch()
        confirmed = 0
        while (page := self._flight.complete()) is not None:
            await self._advance(page)
            confirmed += len(page.page.rows)
        metrics.IN_FLIGHT.set(self._flight.in_flight)
        return Carried(launched, confirmed)

    async def _launch(self) -> int:
        launched = 0
        while self._has_room():
            page = await self._reader.next_page()
            if page is None:
                break
            self._flight.launch(page, datetime.now(UTC))
            launched += len(page.rows)
        return launched

    def _has_room(self) -> bool:
        if self._stopping.is_set() or not self._may_publish.is_set():
            return False
        # A page may be larger than the window, which then lets its events go a few at a time.
        held = self._flight.held
        return held == 0 or held + self._settings.relay_page_size <= self._settings.relay_window

    async def _advance(self, page: PageInFlight) -> None:
        number = await self._reader.advance(page.page, self._epoch, page.sent_at)
        metrics.PAGE_EVENTS.observe(len(page.page.rows))
        log.debug("page_confirmed", page=number, events=len(page.page.rows), last_id=page.page.rows[-1].id)

    def _publish(self, row: Row) -> None:
        metrics.PUBLISHED.inc()
        self._publisher.publish(row)

    def _settled(self, row: Row, outcome: Outcome) -> None:
        metrics.SETTLED.labels(outcome.value).inc()
        if outcome is Outcome.CONFIRMED:
            metrics.COMMIT_TO_CONFIRM.observe((datetime.now(UTC) - row.recorded_at).total_seconds())
        else:
            log.warning("event_not_taken", outcome=outcome.value, event_id=str(row.event_id), to=row.destination)
        self._flight.settle(row, outcome)
