"""The snapshot cursor: every committed event exactly once in a chain of windows, in order of id within each.

A window is what is visible in a newer snapshot and was not in the older one. It has no gaps whatever the order in
which transactions commit: a late commit with a low id is in the window after it became visible. A transaction that
stays open holds back its own rows only. Nothing is claimed, updated or deleted.

Within a window, pages go by primary key between the window's id bounds, which an index on (xid, id) gives once.
Source of the idea: PgQ (Skype), ticks of txid_snapshot.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

from outbox.envelope import Event

# asyncpg's form of a pg_snapshot: (xmin, xmax, xids in progress).
Snapshot = tuple[int, int, tuple[int, ...]]

# Rows of the window (old $1, new $2]. A transaction that was running in the old snapshot has an xid below its xmax.
_IN_WINDOW = """(
      (xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2) AND pg_visible_in_snapshot(xid, $2))
      OR (xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))) AND pg_visible_in_snapshot(xid, $2)))"""

# The newest page is the cursor; before the first page everything is new.
CURSOR = """
SELECT old_snapshot, new_snapshot, last_id FROM outbox.pages ORDER BY page DESC LIMIT 1"""

SNAPSHOT = "SELECT pg_current_snapshot()"

# The subselect lets the planner leave out the segments that stand ahead and are empty. OFFSET 0 keeps it from taking
# min and max for a walk along the primary key, which passes every row ever published before it finds a new one.
BOUNDS = """
SELECT min(id), max(id) FROM (
  SELECT id FROM outbox.events
  WHERE id <= (SELECT last_value FROM outbox.event_ids)
    AND xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2) AND pg_visible_in_snapshot(xid, $2)
  UNION ALL
  SELECT id FROM outbox.events
  WHERE id <= (SELECT last_value FROM outbox.event_ids)
    AND xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))) AND pg_visible_in_snapshot(xid, $2)
  OFFSET 0) AS visible"""

PAGE = f"""
SELECT id, event_id, type, subject, source, time, dataschema, traceparent, destination, attempt, data, recorded_at
FROM outbox.events WHERE id > $3 AND id <= $4 AND {_IN_WINDOW} ORDER BY id LIMIT $5"""  # noqa: S608

# One row per confirmed page, written by the leader alone: with another epoch in force it writes nothing.
ADVANCE = """
INSERT INTO outbox.pages (epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at)
SELECT epoch, $2, $3, $4, $5, $6, $7 FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR SHARE
RETURNING page"""

NOTHING_SEEN: Snapshot = (1, 1, ())


class FencedError(Exception):
    """Another relay leads; this one's cursor did not move."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded event as the relay carries it. `destination` is a queue, or None for the event exchange."""

    id: int
    event_id: UUID
    type: str
    subject: str
    source: str
    time: datetime
    dataschema: str | None
    traceparent: str | None
    destination: str | None
    attempt: int
    data: bytes
    recorded_at: datetime

    def as_event(self) -> Event:
        """The CloudEvent that this row is."""
        return Event(
            self.event_id,
            self.type,
            self.subject,
            self.source,
            self.time,
            self.data,
            self.dataschema,
            self.traceparent,
            self.attempt,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """What became visible between two snapshots, with the bounds of its ids. `after` is the last id confirmed."""

    old: Snapshot
    new: Snapshot
    after: int
    last: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a window in order of id; never empty."""

    window: Window
    rows: tuple[Row, ...]


class Reader:
    """The cursor of one relay, on one connection. It holds its place in memory and keeps it in `outbox.pages`."""

    def __init__(self, connection: "Connection[Record]", page_size: int) -> None:
        self._connection = connection
        self._page_size = page_size
        self._seen = NOTHING_SEEN
        self._window: Window | None = None

    async def resume(self) -> None:
        """Take up the cursor where the newest confirmed page left it, in mid-window if need be."""
        newest = await self._connection.fetchrow(CURSOR)
        if newest is None:
            self._seen, self._window = NOTHING_SEEN, None
            return
        self._seen = newest["new_snapshot"]
        _, last = await self._connection.fetchrow(BOUNDS, newest["old_snapshot"], newest["new_snapshot"])  # type: ignore[misc]
        self._window = Window(newest["old_snapshot"], newest["new_snapshot"], newest["last_id"], last or 0)

    async def next_page(self) -> Page | None:
        """The page after the last one given out; None when nothing new is committed."""
        if self._window is not None:
            page = await self._page_of(self._window)
            if page is not None:
                return page
        self._window = await self._next_window()
        return None if self._window is None else await self._page_of(self._window)

    async def advance(self, page: Page, epoch: int, sent_at: datetime) -> int:
        """Move the cursor past a page whose every event is confirmed; the page's number.

        Raises FencedError, and moves nothing, when `epoch` is not in force any more.
        """
        number = await self._connection.fetchval(
            ADVANCE,
            epoch,
            page.window.old,
            page.window.new,
            page.rows[0].id,
            page.rows[-1].id,
            len(page.rows),
            sent_at,
        )
        if number is None:
            raise FencedError(f"epoch {epoch} is over")
        return int(number)

    async def _next_window(self) -> Window | None:
        new = await self._connection.fetchval(SNAPSHOT)
        if new == self._seen:
            return None
        first, last = await self._connection.fetchrow(BOUNDS, self._seen, new)  # type: ignore[misc]
        old, self._seen = self._seen, new
        return None if first is None else Window(old, new, first - 1, last)

    async def _page_of(self, window: Window) -> Page | None:
        if window.after >= window.last:
            return None
        records = await self._connection.fetch(PAGE, window.old, window.new, window.after, window.last, self._page_size)
        if not records:
            return None
        rows = tuple(Row(*record) for record in records)
        self._window = Window(window.old, window.new, rows[-1].id, window.last)
        return Page(window, rows)
