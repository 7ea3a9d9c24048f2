"""What is published and not yet confirmed: a bounded window, pages in order, one event per subject at a time.

An event waits while an earlier one of its subject is unconfirmed; others overtake it. So a nack, which publishes an
event again, never puts one order's events out of order. A page is complete when each of its events is confirmed, and
pages leave in the order in which they came: the cursor never passes an unconfirmed event.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from outbox.reader import Page, Row
from relay.publisher import Outcome

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class PageInFlight:
    """A page under way. `unconfirmed` counts down to 0."""

    page: Page
    sent_at: datetime
    unconfirmed: int


class Flight:
    """The window. `publish` is called for each event when its turn has come."""

    def __init__(self, publish: Callable[[Row], None], window: int) -> None:
        self._publish = publish
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._pages: deque[PageInFlight] = deque()
        self._page_of: dict[int, PageInFlight] = {}
        self._waiting: dict[str, deque[Row]] = {}  # by subject: the event in flight first, then those behind it
        self._ready: deque[Row] = deque()
        self._pauses: dict[int, float] = {}
        self._in_flight = 0
        self._moved = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Messages published and not settled."""
        return self._in_flight

    @property
    def held(self) -> int:
        """Events taken on and not confirmed, in flight or waiting."""
        return len(self._page_of)

    @property
    def empty(self) -> bool:
        """Whether nothing is under way: every page was handed out by `complete`."""
        return not self._pages

    def launch(self, page: Page, sent_at: datetime) -> None:
        """Take a page on; publish what the window and the subjects allow."""
        under_way = PageInFlight(page, sent_at, len(page.rows))
        self._pages.append(under_way)
        for row in page.rows:
            self._page_of[row.id] = under_way
            behind = self._waiting.setdefault(row.subject, deque())
            behind.append(row)
            if len(behind) == 1:
                self._ready.append(row)
        self._fill()

    def settle(self, row: Row, outcome: Outcome) -> None:
        """The broker's word on one event: confirmed lets the next of its subject go, anything else tries it again."""
        self._in_flight -= 1
        if outcome is Outcome.CONFIRMED:
            self._confirmed(row)
        else:
            self._again(row)
        self._fill()
        self._moved.set()

    def complete(self) -> PageInFlight | None:
        """The oldest page, once each of its events is confirmed; None while it is not."""
        if self._pages and self._pages[0].unconfirmed == 0:
            return self._pages.popleft()
        return None

    async def progress(self, seconds: float) -> None:
        """Return when something was settled since the last call, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            return
        self._moved.clear()

    def _confirmed(self, row: Row) -> None:
        self._pauses.pop(row.id, None)
        self._page_of.pop(row.id).unconfirmed -= 1
        behind = self._waiting[row.subject]
        behind.popleft()
        if behind:
            self._ready.append(behind[0])
        else:
            del self._waiting[row.subject]

    def _again(self, row: Row) -> None:
        pause = self._pauses.get(row.id, FIRST_PAUSE_SECONDS)
        self._pauses[row.id] = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._loop.call_later(pause, self._retry, row)

    def _retry(self, row: Row) -> None:
        self._ready.append(row)
        self._fill()

    def _fill(self) -> None:
        while self._ready and self._in_flight < self._window:
            self._in_flight += 1
            self._publish(self._ready.popleft())
