"""The snapshot cursor: every committed event exactly once in a chain of windows, in order of id within each.

A window is what is visible in a newer snapshot and was not in the older one. It has no gaps whatever the order in
which transactions commit: a late commit with a low id is in the window after it became visible. A transaction that
stays open holds back its own rows only. Nothing is claimed, updated or deleted.

Within a window, pages go by primary key between the window's id bounds, which an index on (xid, id) gives once.
Source of the idea: PgQ (Skype), ticks of txid_snapshot.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

from outbox.envelope import Event

# asyncpg's form of a pg_snapshot: (xmin, xmax, xids in progress).
Snapshot = tuple[int, int, tuple[int, ...]]

# The newest page is the cursor; before the first page everything is new.
CURSOR = """
SELECT old_snapshot, new_snapshot, last_id FROM outbox.pages ORDER BY page DESC LIMIT 1"""

SNAPSHOT = "SELECT pg_current_snapshot()"

_COLUMNS = "id, event_id, type, subject, source, time, dataschema, traceparent, destination, attempt, data, recorded_at"

# Rows of the window (old $1, new $2] by the (xid, id) index: those begun since the old snapshot, and those that were
# running in it. The subselect lets the planner leave out the segments that stand ahead and are empty.
_VISIBLE = """
  SELECT id FROM outbox.events
  WHERE id <= (SELECT last_value FROM outbox.event_ids)
    AND xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2) AND pg_visible_in_snapshot(xid, $2)
  UNION ALL
  SELECT id FROM outbox.events
  WHERE id <= (SELECT last_value FROM outbox.event_ids)
    AND xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))) AND pg_visible_in_snapshot(xid, $2)"""

# MATERIALIZED keeps the planner from taking min, max or the order by id for a walk along the primary key, which passes
# every row ever published before it finds a new one.
BOUNDS = f"""
WITH visible AS MATERIALIZED ({_VISIBLE})
SELECT min(id), max(id), count(*), ARRAY(SELECT id FROM visible ORDER BY id LIMIT $3) FROM visible"""  # noqa: S608

# A window that fits into one page is read by its ids, which may lie far apart.
SMALL_PAGE = f"""
SELECT {_COLUMNS} FROM outbox.events WHERE id = ANY($1::bigint[]) ORDER BY id"""  # noqa: S608

# A larger one by primary key, so that no page reads the whole backlog. OFFSET 0 keeps the filter outside, where it
# cannot lead the planner to another index and a sort of the backlog.
PAGE = f"""
SELECT {_COLUMNS} FROM (
  SELECT {_COLUMNS}, xid FROM outbox.events WHERE id > $3 AND id <= $4 ORDER BY id OFFSET 0) AS walked
WHERE ((xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2)) OR xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))))
  AND pg_visible_in_snapshot(xid, $2)
ORDER BY id LIMIT $5"""  # noqa: S608

# One row per confirmed page, written by the leader alone: with another epoch in force it writes nothing.
ADVANCE = """
INSERT INTO outbox.pages (epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at)
SELECT epoch, $2, $3, $4, $5, $6, $7 FROM outbox.leases WHERE name = 'relay' AND epoch = $1 FOR SHARE
RETURNING page"""

# Settings of the cursor's connection. Its statements have one right plan, by index; it must not change with the
# statistics of the moment, which a burst has not got yet, nor be made anew for 64 segments at each poll.
ONE_PLAN = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off"}

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
    """What became visible between two snapshots: the bounds of its ids, and all of them if they fit into one page.

    `after` is the last id given out.
    """

    old: Snapshot
    new: Snapshot
    after: int
    last: int
    ids: tuple[int, ...] | None = None


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
        window = await self._window_of(newest["old_snapshot"], newest["new_snapshot"])
        self._window = None if window is None else replace(window, after=newest["last_id"])

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
        old, self._seen = self._seen, new
        return await self._window_of(old, new)

    async def _window_of(self, old: Snapshot, new: Snapshot) -> Window | None:
        bounds = await self._connection.fetchrow(BOUNDS, old, new, self._page_size)
        assert bounds is not None, "an aggregate has one row"
        first, last, count, ids = bounds
        if first is None:
            return None
        return Window(old, new, first - 1, last, tuple(ids) if count == len(ids) else None)

    async def _page_of(self, window: Window) -> Page | None:
        if window.after >= window.last:
            return None
        if window.ids is not None:
            records = await self._connection.fetch(SMALL_PAGE, [row for row in window.ids if row > window.after])
        else:
            records = await self._connection.fetch(
                PAGE, window.old, window.new, window.after, window.last, self._page_size
            )
        if not records:
            return None
        rows = tuple(Row(*record) for record in records)
        self._window = replace(window, after=rows[-1].id)
        return Page(window, rows)
