"""Window of the events that are read and that the cursor has not advanced past. Fed and drained by `relay.pipeline`.

    add_page ──▶ first of its subject? ──yes──▶ ready ──window has room──▶ in flight ──settle──▶ CONFIRMED or
                      │ no                        ▲                           │                 UNPUBLISHABLE: finished
                      ▼                           │ retry after a pause       │ NACKED or RETURNED   │
                 behind its subject               └───────────────────────────┘                     │
                      └──────────────────────────────◀── next of the subject becomes ready ─────────┘

    A page is complete when all its events are finished. Complete pages leave from the front, in order.

Order: at most one event of a subject is ready or in flight. A nacked event, which is published again, therefore never
overtakes or is overtaken by a later event of its subject; events of other subjects overtake it.

Bounds: `window` messages in flight; `open_events` events, or `open_bytes` of their data, in pages that the cursor has
not advanced past. The second bound stops the overtaking when the broker keeps refusing one event. It limits the memory
used and the events published twice after a crash.

Poison: an event that makes the broker close the channel is found by `relay.bisect`. During the search only the probe
is published.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from outbox.cursor.reader import Page, Row
from relay.bisect import Search
from relay.publisher import Outcome
from runtime.loops import Backoff, sleep_until

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
FINAL = frozenset({Outcome.CONFIRMED, Outcome.UNPUBLISHABLE})


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits: messages in flight, open events, bytes of their data, events in a page."""

    window: int
    open_events: int
    open_bytes: int
    page_size: int


@dataclass(slots=True)
class PageInFlight:
    """An open page. `unsettled` counts down to 0; `completed_at` is when it got there, by the loop's clock.

    `confirmed_at` is the same moment as a date and time; until then it equals `sent_at`.
    """

    page: Page
    sent_at: datetime
    unsettled: int
    bytes: int
    confirmed_at: datetime
    completed_at: float = 0.0


class InFlightWindow:
    """See the module. Calls `publish` with the events whose turn has come, and `complete` when the oldest page is."""

    def __init__(
        self, publish: Callable[[list[Row]], None], bounds: Bounds, complete: Callable[[], None] = lambda: None
    ) -> None:
        self._publish = publish
        self._bounds = bounds
        self._report_complete = complete
        self._loop = asyncio.get_running_loop()
        self._pages: deque[PageInFlight] = deque()
        self._page_of: dict[int, PageInFlight] = {}
        self._busy: set[str] = set()  # subjects with an event that is ready or in flight
        self._behind: dict[str, deque[Row]] = {}  # by subject: the events that wait for that one
        self._ready: deque[Row] = deque()
        self._backoffs: dict[int, Backoff] = {}
        self._holds: set[str] = set()
        self._search: Search | None = None
        self._probe_ids: set[int] = set()
        self._probe: deque[Row] = deque()
        self._in_flight = 0
        self._open = 0
        self._open_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def in_flight(self) -> int:
        """Messages published and not settled."""
        return self._in_flight

    @property
    def unsettled(self) -> int:
        """Events that are not finished, in flight or waiting."""
        return len(self._page_of)

    @property
    def open_events(self) -> int:
        """Events of the pages that the cursor has not advanced past."""
        return self._open

    @property
    def oldest_sent_at(self) -> datetime | None:
        """When the oldest open page was added. Safe to call from another thread."""
        return next((page.sent_at for page in tuple(self._pages)), None)

    @property
    def has_room(self) -> bool:
        """Whether another page may be added: less than a window is ready, and the open pages leave room for one.

        Events that wait for a retry, or behind their subject, do not count as ready: they do not stop the reading.
        """
        if self._holds or self._in_flight + len(self._ready) >= self._bounds.window:
            return False
        if self._open == 0:
            return True
        fits = self._open + self._bounds.page_size <= self._bounds.open_events
        return fits and self._open_bytes < self._bounds.open_bytes

    async def wait_for_room(self, seconds: float) -> bool:
        """Wait until there is room for a page, but no longer than `seconds`; whether there is room."""
        await sleep_until(self._room, seconds)
        return self.has_room

    async def drained(self) -> None:
        """Return once no open event can progress, except by a retry of an event that the broker refused.

        Then no message is in flight, none may be published, and the cursor has advanced past every complete page.
        """
        await self._drained.wait()

    def add_page(self, page: Page, sent_at: datetime) -> None:
        """Add a page and publish the events that the window and their subjects allow."""
        added = PageInFlight(page, sent_at, len(page.rows), sum(len(row.data) for row in page.rows), sent_at)
        self._pages.append(added)
        self._open += len(page.rows)
        self._open_bytes += added.bytes
        for row in page.rows:
            self._page_of[row.id] = added
            if row.subject in self._busy:
                self._behind.setdefault(row.subject, deque()).append(row)
            else:
                self._busy.add(row.subject)
                self._ready.append(row)
        self._publish_ready()

    def settle(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """Apply the broker's outcome: a finished event makes the next of its subject ready; another one is retried."""
        self._in_flight -= len(rows)
        for row in rows:
            if outcome in FINAL:
                self._finish(row)
            else:
                self._retry_later(row)
        self._probe_ids.difference_update(row.id for row in rows)
        if self._search is not None and not self._probe_ids:
            self._start_probe(self._search if self._search.probe_survived() else None)
        self._publish_ready()

    def interrupted(self, rows: Sequence[Row]) -> Row | None:
        """The channel closed under these events: search for the cause. Returns that event once it is certain.

        The caller holds the window, opens another channel and releases the window. The event that was found still
        counts as in flight until it is settled as unpublishable.
        """
        self._in_flight -= len(rows)
        if self._search is None:
            search = Search(rows)
        else:
            search = self._search
            self._ready.extendleft(reversed(search.probe_failed(rows)))
        found = search.found
        if found is not None:
            self._in_flight += 1
        self._start_probe(search if found is None else None)
        return found

    def complete_pages(self, until: float = inf) -> list[PageInFlight]:
        """The oldest pages that were complete before `until`. They stay until `advanced_past`."""
        pages = []
        for page in self._pages:
            if page.unsettled or page.completed_at >= until:
                break
            pages.append(page)
        return pages

    def advanced_past(self, pages: int) -> None:
        """Remove so many pages: the cursor has advanced past them."""
        for _ in range(pages):
            page = self._pages.popleft()
            self._open -= len(page.page.rows)
            self._open_bytes -= page.bytes
        self._publish_ready()

    def hold(self, reason: str) -> None:
        """Publish nothing and add no page until `release` is called for the same reason."""
        self._holds.add(reason)
        self._publish_ready()

    def release(self, reason: str) -> None:
        """Publish again, unless there is another reason to hold."""
        self._holds.discard(reason)
        self._publish_ready()

    def _finish(self, row: Row) -> None:
        self._backoffs.pop(row.id, None)
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

    def _retry_later(self, row: Row) -> None:
        backoff = self._backoffs.setdefault(row.id, Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        self._loop.call_later(backoff.next(), self._retry, row)

    def _retry(self, row: Row) -> None:
        self._ready.append(row)
        self._publish_ready()

    def _start_probe(self, search: Search | None) -> None:
        self._search = search
        self._probe_ids = set() if search is None else {row.id for row in search.probe}
        self._probe = deque(() if search is None else search.probe)

    def _publish_ready(self) -> None:
        turn = deque[Row]() if self._holds else self._ready if self._search is None else self._probe
        self._publish_from(turn)
        complete = bool(self._pages) and self._pages[0].unsettled == 0
        _set(self._room, self.has_room)
        _set(self._drained, not (self._in_flight or turn or complete))
        if complete:
            self._report_complete()

    def _publish_from(self, source: "deque[Row]") -> None:
        turn = [source.popleft() for _ in range(min(len(source), self._bounds.window - self._in_flight))]
        if turn:
            self._in_flight += len(turn)
            self._publish(turn)


def _set(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()
