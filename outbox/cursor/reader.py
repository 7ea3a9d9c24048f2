"""The snapshot cursor: every committed event exactly once in a chain of windows, in order of id within each.

A window is what is visible in a newer snapshot and was not in the older one. It has no gaps whatever the order in
which transactions commit: a late commit with a low id is in the window after it became visible. A transaction that
stays open holds back its own rows only. Nothing is claimed, updated or deleted.

An index on (xid, id) gives a window's first page, its last id and its size; further pages go by primary key, or by
that index again where the window's ids lie far apart: one late writer, with millions of published rows between.
Only ids above the floor of the newest adoption are read, and only pages after it count
(`outbox.cursor.cluster_adoption`). Source of the idea: PgQ (Skype), ticks of txid_snapshot.
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

_COLUMNS = (
    "id, event_id, type, subject, source, time, dataschema, traceparent, destination, generation, data, recorded_at"
)

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

# The first page of a window, or of its rest above $3, each row with the last id and how many there are. MATERIALIZED
# keeps the planner from taking max or the order by id for a walk along the primary key, which passes every row ever
# published before it finds a new one. The price: all ids are read, for the index has them by transaction.
FIRST_PAGE = f"""
WITH visible AS MATERIALIZED ({_VISIBLE})
SELECT (SELECT max(id) FROM visible), (SELECT count(*) FROM visible), {_COLUMNS} FROM outbox.events
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

# For the statements that read a whole window. After a long outage or an adoption that is the whole backlog, some ten
# millions of events in half a minute from a cold disk: a usual time limit would end every session at the same place.
WINDOW_SECONDS = 300.0

# A row costs a walk less than an id costs the index, and ids may have no row: many more to pass, before it is given up.
FAR_APART = 10


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
    generation: int
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
            self.generation,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """What became visible between two snapshots, in ids above `after`, the last one given out, up to `last`.

    `events` were found when it was opened; `left` of them are not given out.
    """

    old: Snapshot
    new: Snapshot
    after: int
    last: int
    events: int = 0
    left: int = 0

    def is_sparse(self, page_size: int) -> bool:
        """Walking the ids that are left costs more than reading the window's ids anew for each page of them."""
        pages = -(-self.left // page_size)
        return self.last - self.after > FAR_APART * self.events * pages


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
        """A window's first page. `window` comes with the bounds to look between, and is kept with what is found."""
        records = await self._fetch(FIRST_PAGE, window)
        if not records:
            return None
        last, left = records[0][:2]
        found = replace(window, last=last, events=max(left, window.events), left=left)
        return self._given_out(found, [Row._make(record[2:]) for record in records])

    async def _further_page(self, window: Window) -> Page | None:
        if window.after >= window.last:
            return None
        if window.is_sparse(self._page_size):
            return await self._first_page(window)
        records = await self._fetch(PAGE, window)
        return self._given_out(window, list(map(Row._make, records))) if records else None

    async def _fetch(self, statement: str, window: Window) -> "list[Record]":
        bounds = (window.old, window.new, window.after, window.last)
        return await self._connection.fetch(statement, *bounds, self._page_size, timeout=WINDOW_SECONDS)

    def _given_out(self, window: Window, rows: Sequence[Row]) -> Page:
        self._window = replace(window, after=rows[-1].id, left=window.left - len(rows))
        return Page(window, tuple(rows))
