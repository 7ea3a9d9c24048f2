"""What is read and not yet passed by the cursor: bounded, pages in order, one event per subject at a time.

An event waits while an earlier one of its subject is unconfirmed; others overtake it. So a nack, which publishes an
event again, never puts one order's events out of order. A page is complete when each of its events is confirmed or
set aside, and pages leave in the order in which they came: the cursor never passes an unconfirmed event.

Two bounds: `window` messages published and not settled, and `open_events` events of pages that the cursor has not
passed, or `open_bytes` of their data. The second is what an event that the broker keeps refusing runs into: others
overtake it so far and no further, which bounds the memory and what is published twice after a crash.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from outbox.cursor.reader import Page, Row
from relay.bisect import Search
from relay.publisher import Outcome

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
DONE = frozenset({Outcome.CONFIRMED, Outcome.UNPUBLISHABLE})


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be under way: events unconfirmed, events and bytes of data open, events read at once."""

    window: int
    open_events: int
    open_bytes: int
    page_size: int


@dataclass(slots=True)
class PageInFlight:
    """A page under way. `unsettled` counts down to 0, which it reaches at `completed_at` by the clock of the loop.

    `confirmed_at` is the same moment by the clock of the day, and `sent_at` until then.
    """

    page: Page
    sent_at: datetime
    unsettled: int
    bytes: int
    confirmed_at: datetime
    completed_at: float = 0.0


class Flight:
    """The window. `publish` is called with the events whose turn has come, `complete` when the oldest page is."""

    def __init__(
        self, publish: Callable[[list[Row]], None], bounds: Bounds, complete: Callable[[], None] = lambda: None
    ) -> None:
        self._publish = publish
        self._bounds = bounds
        self._report_complete = complete
        self._loop = asyncio.get_running_loop()
        self._pages: deque[PageInFlight] = deque()
        self._page_of: dict[int, PageInFlight] = {}
        self._busy: set[str] = set()  # subjects with an event whose turn has come
        self._behind: dict[str, deque[Row]] = {}  # by subject: those that wait for it
        self._ready: deque[Row] = deque()
        self._pauses: dict[int, float] = {}
        self._holds: set[str] = set()
        self._search: Search | None = None
        self._on_trial: set[int] = set()
        self._trial: deque[Row] = deque()
        self._in_flight = 0
        self._open = 0
        self._open_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    @property
    def in_flight(self) -> int:
        """Messages published and not settled."""
        return self._in_flight

    @property
    def held(self) -> int:
        """Events taken on and not settled for good, in flight or waiting."""
        return len(self._page_of)

    @property
    def open_events(self) -> int:
        """Events of the pages that the cursor has not passed."""
        return self._open

    @property
    def oldest_sent_at(self) -> datetime | None:
        """When the oldest page under way was taken on. Safe to ask from another thread."""
        return next((page.sent_at for page in tuple(self._pages)), None)

    @property
    def has_room(self) -> bool:
        """Whether another page may be taken on: less than a window waits, and the open pages leave room for one.

        What rests until it is tried again, or waits behind its subject, keeps nobody from being read.
        """
        if self._holds or self._in_flight + len(self._ready) >= self._bounds.window:
            return False
        if self._open == 0:
            return True
        fits = self._open + self._bounds.page_size <= self._bounds.open_events
        return fits and self._open_bytes < self._bounds.open_bytes

    async def room(self, seconds: float) -> bool:
        """Wait until there is room for a page, but no longer than `seconds`; whether there is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()
        return self.has_room

    async def at_rest(self) -> None:
        """Return once no more can become of what was taken on, unless by trying again what the broker refused.

        Then nothing is on its way, nothing may be published, and the cursor has passed every page that is complete.
        """
        await self._at_rest.wait()

    def launch(self, page: Page, sent_at: datetime) -> None:
        """Take a page on; publish what the window and the subjects allow."""
        under_way = PageInFlight(page, sent_at, len(page.rows), sum(len(row.data) for row in page.rows), sent_at)
        self._pages.append(under_way)
        self._open += len(page.rows)
        self._open_bytes += under_way.bytes
        for row in page.rows:
            self._page_of[row.id] = under_way
            if row.subject in self._busy:
                self._behind.setdefault(row.subject, deque()).append(row)
            else:
                self._busy.add(row.subject)
                self._ready.append(row)
        self._go_on()

    def settle(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """What became of published events: the next of its subject follows one that is done, others are tried again."""
        self._in_flight -= len(rows)
        for row in rows:
            if outcome in DONE:
                self._done(row)
            else:
                self._again(row)
        self._on_trial.difference_update(row.id for row in rows)
        if self._search is not None and not self._on_trial:
            self._try(self._search if self._search.passed() else None)
        self._go_on()

    def interrupted(self, rows: Sequence[Row]) -> Row | None:
        """The channel closed under these: look for the one that closes it; that event, once it is certain.

        The caller holds the flight, opens another channel and releases it. The event that was found still counts as
        in flight until it is settled as unpublishable.
        """
        self._in_flight -= len(rows)
        if self._search is None:
            search = Search(rows)
        else:
            search = self._search
            self._ready.extendleft(reversed(search.failed(rows)))
        found = search.found
        if found is not None:
            self._in_flight += 1
        self._try(search if found is None else None)
        return found

    def complete(self, until: float = inf) -> list[PageInFlight]:
        """The oldest pages, those that were complete before `until`; they stay until `passed`."""
        pages = []
        for page in self._pages:
            if page.unsettled or page.completed_at >= until:
                break
            pages.append(page)
        return pages

    def passed(self, pages: int) -> None:
        """The cursor has passed so many pages."""
        for _ in range(pages):
            page = self._pages.popleft()
            self._open -= len(page.page.rows)
            self._open_bytes -= page.bytes
        self._go_on()

    def hold(self, reason: str) -> None:
        """Publish nothing and take nothing on until `release` is called for the same reason."""
        self._holds.add(reason)
        self._go_on()

    def release(self, reason: str) -> None:
        """Go on, unless there is another reason to hold."""
        self._holds.discard(reason)
        self._go_on()

    def _done(self, row: Row) -> None:
        self._pauses.pop(row.id, None)
        page = self._page_of.pop(row.id)
        page.unsettled -= 1
        if not page.unsettled:
            page.completed_at, page.confirmed_at = self._loop.time(), datetime.now(UTC)
        behind = self._behind.get(row.subject)
        if behind is None:
            self._busy.discard(row.subject)
            return
        self._ready.append(behind.popleft())
        if not behind:
            del self._behind[row.subject]

    def _again(self, row: Row) -> None:
        pause = self._pauses.get(row.id, FIRST_PAUSE_SECONDS)
        self._pauses[row.id] = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._loop.call_later(pause, self._retry, row)

    def _retry(self, row: Row) -> None:
        self._ready.append(row)
        self._go_on()

    def _try(self, search: Search | None) -> None:
        self._search = search
        self._on_trial = set() if search is None else {row.id for row in search.trial}
        self._trial = deque(() if search is None else search.trial)

    def _go_on(self) -> None:
        turn = deque[Row]() if self._holds else self._ready if self._search is None else self._trial
        self._fill(turn)
        complete = bool(self._pages) and self._pages[0].unsettled == 0
        _let(self._room, self.has_room)
        _let(self._at_rest, not (self._in_flight or turn or complete))
        if complete:
            self._report_complete()

    def _fill(self, source: "deque[Row]") -> None:
        turn = [source.popleft() for _ in range(min(len(source), self._bounds.window - self._in_flight))]
        if turn:
            self._in_flight += len(turn)
            self._publish(turn)


def _let(event: asyncio.Event, be: bool) -> None:
    if be:
        event.set()
    else:
        event.clear()
