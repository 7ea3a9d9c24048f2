"""The snapshot reader: every committed event exactly once in a chain of windows, in order of id within each.

A window holds the rows that are visible in a newer snapshot and were not visible in the older one. The chain has no
gaps, in whatever order transactions commit: a late commit with a low id is in the window after it became visible.

    transaction A   ──insert id 1────────────────commit──            (long)
    transaction B        ──insert id 2──commit──                     (short)
                         S1             S2              S3           snapshots of the reader
                         │   window 1   │   window 2    │
                         │   has id 2   │   has id 1    │            A holds back its own rows only

    window (S1, S2], 5 events, pages of 2:
                 first page         further page       further page
                 [ 3  7 ]           [ 9  12 ]          [ 15 ]
                 by (xid, id)       by primary key     by primary key

Nothing is claimed, updated or deleted. An index on (xid, id) gives a window's first page, its last id and its size.
Further pages go by primary key, or by that index again if the window's ids lie far apart, as with one late writer and
millions of published rows between. Only ids above the floor of the newest adoption are read, and only pages after it
count (`outbox.cursor.cluster_adoption`). `outbox.cursor.position` has it in SQL. Called by `relay.pipeline`, which
publishes each page; `outbox.cursor.log` writes the pages that are confirmed. The idea is PgQ's (Skype): ticks of
txid_snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Connection, Record

from outbox.cursor.position import CURSOR, in_window, running_in, started_between
from outbox.envelope import Event
from outbox.message_columns import MESSAGE_COLUMNS

# asyncpg's form of a pg_snapshot: (xmin, xmax, xids in progress).
Snapshot = tuple[int, int, tuple[int, ...]]

# The sequence is read after the snapshot is taken: no id that the snapshot sees is higher.
SNAPSHOT = "SELECT pg_current_snapshot(), last_value FROM outbox.event_ids"

_COLUMNS = f"id, {MESSAGE_COLUMNS}, recorded_at"

# Ids of the window (old $1, new $2] by the (xid, id) index: of transactions that began between the snapshots, and of
# those that were running in the old one. The bound $4 is a parameter because the executor then prunes the segments
# ahead before the plan starts, which is most of the cost of a small window. Two clauses change no result, but keep
# the planner from walking a history of few transactions by id: the bound $3 in a form that fits no index, and the range
# of xid around the running transactions, which the planner takes for small whatever its statistics say.
_VISIBLE = f"""
  SELECT id FROM outbox.events
  WHERE id - $3 > 0 AND id <= $4
    AND {started_between("$1", "$2")} AND pg_visible_in_snapshot(xid, $2)
  UNION ALL
  SELECT id FROM outbox.events
  WHERE id - $3 > 0 AND id <= $4
    AND xid >= pg_snapshot_xmin($1) AND xid < pg_snapshot_xmax($1)
    AND {running_in("$1")} AND pg_visible_in_snapshot(xid, $2)"""  # noqa: S608 - fragments of ours

# The first page of a window, or of its rest above $3; each row has the last id and the number of events. MATERIALIZED
# keeps the planner from taking max or the order by id for a walk along the primary key, which reads every row ever
# published before it finds a new one. The price: all ids are read, because the index has them by transaction.
FIRST_PAGE = f"""
WITH visible AS MATERIALIZED ({_VISIBLE})
SELECT (SELECT max(id) FROM visible), (SELECT count(*) FROM visible), {_COLUMNS} FROM outbox.events
WHERE id = ANY(ARRAY(SELECT id FROM visible ORDER BY id LIMIT $5)) AND id >= (SELECT min(id) FROM visible) AND id <= $4
ORDER BY id"""  # noqa: S608

# A further page, by primary key, so that no page reads the whole backlog. OFFSET 0 keeps the filter outside, where it
# cannot lead the planner to another index and a sort of the backlog.
PAGE = f"""
SELECT {_COLUMNS} FROM (
  SELECT {_COLUMNS}, xid FROM outbox.events WHERE id > $3 AND id <= $4 ORDER BY id OFFSET 0) AS walked
WHERE {in_window("$1", "$2")}
ORDER BY id LIMIT $5"""  # noqa: S608

# Settings of the cursor's connection. Its statements have one right plan, by index. The plan must not change with the
# statistics of the moment, which do not know a burst yet, nor be made anew for all segments at each poll.
ONE_PLAN = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off"}

NOTHING_SEEN: Snapshot = (1, 1, ())

# For the statements that read a whole window. After a long outage or an adoption that is the whole backlog, some ten
# millions of events in half a minute from a cold disk: a usual time limit would end every session at the same point.
WINDOW_SECONDS = 300.0

# A walk along the primary key pays less for a row than the index pays for an id, and ids may have no row: only with so
# many times more ids than events is the walk abandoned for the index.
FAR_APART = 10


class FencedError(Exception):
    """Another relay leads: this relay's cursor did not move."""


class Row(NamedTuple):
    """One recorded event as the relay reads it. `destination` is a queue, or None for the event exchange.

    A tuple, because the relay makes more of these than of anything else: a record becomes one in a fifth of the time
    that a dataclass takes. The fields are MESSAGE_COLUMNS between the id and `recorded_at`.
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
        """The event that this row recorded."""
        return Event(
            id=self.event_id,
            type=self.type,
            subject=self.subject,
            source=self.source,
            time=self.time,
            data=self.data,
            dataschema=self.dataschema,
            traceparent=self.traceparent,
            generation=self.generation,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that became visible between two snapshots, with ids above `after`, the last one read, up to `last`.

    `events` were found when the window was opened; `left` of them are not read yet.
    """

    old: Snapshot
    new: Snapshot
    after: int
    last: int
    events: int = 0
    left: int = 0

    def is_sparse(self, page_size: int) -> bool:
        """Whether walking the remaining ids costs more than reading the window's ids anew for each remaining page."""
        pages = -(-self.left // page_size)
        return self.last - self.after > FAR_APART * self.events * pages


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a window in order of id; never empty."""

    window: Window
    rows: tuple[Row, ...]


class Reader:
    """The reader of one relay, on one connection. Its position is in memory; `outbox.pages` has what is confirmed."""

    def __init__(self, connection: "Connection[Record]", page_size: int) -> None:
        self._connection = connection
        self._page_size = page_size
        self._floor = 0
        self._seen = NOTHING_SEEN
        self._window: Window | None = None
        self._ahead: Page | None = None

    async def resume(self) -> None:
        """Continue after the newest confirmed page, in the middle of its window if need be."""
        self._floor, self._seen, self._window, self._ahead = 0, NOTHING_SEEN, None, None
        cursor = await self._connection.fetchrow(CURSOR)
        if cursor is None:
            return
        self._floor = cursor["floor_id"]
        if cursor["new_snapshot"] is not None:
            self._seen = cursor["new_snapshot"]
            _, reach = await self._now()
            self._ahead = await self._first_page(Window(cursor["old_snapshot"], self._seen, cursor["last_id"], reach))

    async def next_page(self) -> Page | None:
        """The page after the last one read; None when nothing new is committed."""
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
        """The snapshot of this moment, and an upper bound of the ids in it."""
        row = await self._connection.fetchrow(SNAPSHOT)
        assert row is not None, "a sequence has one row"
        return row[0], row[1]

    async def _first_page(self, window: Window) -> Page | None:
        """A window's first page. `window` comes with the bounds to search in, and is kept with those that are found."""
        records = await self._fetch(FIRST_PAGE, window)
        if not records:
            return None
        last, left = records[0][:2]
        found = replace(window, last=last, events=max(left, window.events), left=left)
        return self._read_page(found, [Row._make(record[2:]) for record in records])

    async def _further_page(self, window: Window) -> Page | None:
        if window.after >= window.last:
            return None
        if window.is_sparse(self._page_size):
            return await self._first_page(window)
        records = await self._fetch(PAGE, window)
        return self._read_page(window, list(map(Row._make, records))) if records else None

    async def _fetch(self, statement: str, window: Window) -> "list[Record]":
        bounds = (window.old, window.new, window.after, window.last)
        return await self._connection.fetch(statement, *bounds, self._page_size, timeout=WINDOW_SECONDS)

    def _read_page(self, window: Window, rows: Sequence[Row]) -> Page:
        self._window = replace(window, after=rows[-1].id, left=window.left - len(rows))
        return Page(window, tuple(rows))
