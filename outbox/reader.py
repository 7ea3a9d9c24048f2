"""The snapshot cursor: every committed event exactly once in a chain of windows, in order of id within each.

A window is what is visible in a newer snapshot and was not in the older one. It has no gaps whatever the order in
which transactions commit: a late commit with a low id is in the window after it became visible. A transaction that
stays open holds back its own rows only. Nothing is claimed, updated or deleted.

An index on (xid, id) gives a window's first page and its last id; further pages go by primary key between the two.
Only ids above the floor of the newest adoption are read, and only pages after it count (`outbox.adoption`).
Source of the idea: PgQ (Skype), ticks of txid_snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from outbox.envelope import Event

# asyncpg's form of a pg_snapshot: (xmin, xmax, xids in progress).
Snapshot = tuple[int, int, tuple[int, ...]]

# The newest page is the cursor; before the first page since the newest adoption everything above its floor is new.
CURSOR = """
SELECT floor_id, old_snapshot, new_snapshot, last_id
FROM (SELECT floor_id, after_page FROM outbox.adoptions ORDER BY adoption DESC LIMIT 1) AS adopted
LEFT JOIN LATERAL (
  SELECT old_snapshot, new_snapshot, last_id FROM outbox.pages WHERE page > after_page ORDER BY page DESC LIMIT 1
) AS newest ON true"""

# The sequence is read after the snapshot is taken: no id that the snapshot sees is higher.
SNAPSHOT = "SELECT pg_current_snapshot(), last_value FROM outbox.event_ids"

_COLUMNS = "id, event_id, type, subject, source, time, dataschema, traceparent, destination, attempt, data, recorded_at"

# Ids of the window (old $1, new $2] by the (xid, id) index: of transactions begun since the old snapshot, and of those
# that were running in it. The bound $4 is a parameter because that leaves the segments that stand ahead out before the
# plan is started, which is most of what a small window would cost. Two clauses say nothing new, but keep the planner
# from walking a history of few transactions by id: the bound $3 in a form that fits no index, and the range of xid
# around what was running, which looks small to it whatever it knows of the table.
_VISIBLE = """
  SELECT id FROM outbox.events
  WHERE id - $3 > 0 AND id <= $4
    AND xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2) AND pg_visible_in_snapshot(xid, $2)
  UNION ALL
  SELECT id FROM outbox.events
  WHERE id - $3 > 0 AND id <= $4
    AND xid >= pg_snapshot_xmin($1) AND xid < pg_snapshot_xmax($1)
    AND xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))) AND pg_visible_in_snapshot(xid, $2)"""

# A window's first page, each row with the window's last id. MATERIALIZED keeps the planner from taking max or the order
# by id for a walk along the primary key, which passes every row ever published before it finds a new one.
FIRST_PAGE = f"""
WITH visible AS MATERIALIZED ({_VISIBLE})
SELECT (SELECT max(id) FROM visible), {_COLUMNS} FROM outbox.events
WHERE id = ANY(ARRAY(SELECT id FROM visible ORDER BY id LIMIT $5)) AND id >= (SELECT min(id) FROM visible) AND id <= $4
ORDER BY id"""  # noqa: S608

# A further one by primary key, so that no page reads the whole backlog. OFFSET 0 keeps the filter outside, where it
# cannot lead the planner to another index and a sort of the backlog.
PAGE = f"""
SELECT {_COLUMNS} FROM (
  SELECT {_COLUMNS}, xid FROM outbox.events WHERE id > $3 AND id <= $4 ORDER BY id OFFSET 0) AS walked
WHERE ((xid >= pg_snapshot_xmax($1) AND xid < pg_snapshot_xmax($2)) OR xid = ANY(ARRAY(SELECT pg_snapshot_xip($1))))
  AND pg_visible_in_snapshot(xid, $2)
ORDER BY id LIMIT $5"""  # noqa: S608

# Settings of the cursor's connection. Its statements have one right plan, by index; it must not change with the
# statistics of the moment, which a burst has not got yet, nor be made anew for 64 segments at each poll.
ONE_PLAN = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off"}

NOTHING_SEEN: Snapshot = (1, 1, ())


class FencedError(Exception):
    """Another relay leads; this one's cursor did not move."""


class Row(NamedTuple):
    """One recorded event as the relay carries it. `destination` is a queue, or None for the event exchange.

    A tuple: made of a record in a fifth of the time that a dataclass takes, which is what the relay makes most of.
    """

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
    """What became visible between two snapshots, in ids above `after`, the last one given out, up to `last`."""

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
    """The cursor of one relay, on one connection. Its place is in memory; `outbox.pages` has what is confirmed."""

    def __init__(self, connection: "Connection[Record]", page_size: int) -> None:
        self._connection = connection
        self._page_size = page_size
        self._floor = 0
        self._seen = NOTHING_SEEN
        self._window: Window | None = None
        self._ahead: Page | None = None

    async def resume(self) -> None:
        """Take up the cursor where the newest confirmed page left it, in mid-window if need be."""
        self._floor, self._seen, self._window, self._ahead = 0, NOTHING_SEEN, None, None
        place = await self._connection.fetchrow(CURSOR)
        if place is None:
            return
        self._floor = place["floor_id"]
        if place["new_snapshot"] is not None:
            self._seen = place["new_snapshot"]
            _, reach = await self._now()
            self._ahead = await self._first_page(Window(place["old_snapshot"], self._seen, place["last_id"], reach))

    async def next_page(self) -> Page | None:
        """The page after the last one given out; None when nothing new is committed."""
        page, self._ahead = self._ahead, None
        if page is None and self._window is not None:
            page = await self._further_page(self._window)
        if page is not None:
            return page
        new, reach = await self._now()
        if new == self._seen:
            return None
        old, self._seen = self._seen, new
        return await self._first_page(Window(old, new, self._floor, reach))

    async def _now(self) -> tuple[Snapshot, int]:
        """The snapshot of this moment, and an id that none of it exceeds."""
        row = await self._connection.fetchrow(SNAPSHOT)
        assert row is not None, "a sequence has one row"
        return row[0], row[1]

    async def _first_page(self, window: Window) -> Page | None:
        """A window's first page. `window` comes with the bounds to look between and is kept with its true last id."""
        records = await self._connection.fetch(
            FIRST_PAGE, window.old, window.new, window.after, window.last, self._page_size
        )
        if not records:
            return None
        return self._given_out(replace(window, last=records[0][0]), [Row._make(record[1:]) for record in records])

    async def _further_page(self, window: Window) -> Page | None:
        if window.after >= window.last:
            return None
        records = await self._connection.fetch(PAGE, window.old, window.new, window.after, window.last, self._page_size)
        return self._given_out(window, list(map(Row._make, records))) if records else None

    def _given_out(self, window: Window, rows: Sequence[Row]) -> Page:
        self._window = replace(window, after=rows[-1].id)
        return Page(window, tuple(rows))
