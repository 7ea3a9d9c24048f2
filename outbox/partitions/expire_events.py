"""Segments dropped behind: those that are wholly confirmed and past retention, one per turn, oldest first.

A segment is detached first, which nobody has to wait for, and dropped then. New statements do not see a segment from
the moment at which its detaching begins, so nothing may be in it that the relay has not passed, nor come into it any
more. Hence the order: its ids are all given out; the transactions that could have taken one of them are over; each of
its rows is confirmed by the newest page. What is found so bears a mark, a comment on the table, and only what bears it
is dropped. A turn that is cut short at any point is taken up by the next one: whoever has an open transaction on the
table postpones it and is never disturbed.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from asyncpg import Connection, LockNotAvailableError, QueryCanceledError, Record

from outbox.cursor.log import WITH_CURSOR
from outbox.partitions.create import EVENTS, NEXT_ID, PAGES, Series

PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_STATEMENT_SECONDS = 20  # detaching waits for one open transaction after the other, each within the lock's time limit
_MARK = "expired: "

# Children, and what was marked and detached already. Bounds read as in "FOR VALUES FROM ('0') TO ('1000000')". Of the
# children only one at a time can be half detached: it comes first.
_SEGMENTS = f"""
WITH segments AS (
  SELECT relname AS name, inhrelid IS NOT NULL AS attached, coalesce(inhdetachpending, false) AS pending,
         coalesce(comment LIKE '{_MARK}%', false) AS marked,
         regexp_match(coalesce(pg_get_expr(relpartbound, c.oid), comment), '\\D(\\d+)\\D+(\\d+)\\D*$') AS bounds
  FROM pg_class AS c LEFT JOIN pg_inherits ON inhrelid = c.oid, obj_description(c.oid, 'pg_class') AS comment
  WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'
    AND (inhparent = $1::text::regclass OR (inhrelid IS NULL AND relname ^@ $2)))
SELECT name, bounds[1]::bigint AS first, bounds[2]::bigint AS past, attached, pending, marked FROM segments
WHERE attached OR marked ORDER BY pending DESC, first"""  # noqa: S608 - _MARK is a constant

# Who may still bring a row: an INSERT holds this lock on the parent from before it takes an id until it is committed.
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = $1::text::regclass AND mode = 'RowExclusiveLock'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

# No row younger than $3, none that the newest page does not confirm, and not the cursor's own segment. The bound on xid
# is for the index.
_EVENTS_SPENT = f"""{WITH_CURSOR}
SELECT NOT EXISTS (SELECT FROM cursor WHERE last_id >= $1 AND last_id < $2)
  AND NOT EXISTS (
    SELECT FROM (SELECT recorded_at FROM outbox.{{segment}} ORDER BY id DESC LIMIT 1) AS youngest
    WHERE recorded_at > clock_timestamp() - $3::interval)
  AND NOT EXISTS (
    SELECT FROM outbox.{{segment}}
    WHERE id > (SELECT floor FROM cursor) AND xid >= pg_snapshot_xmin((SELECT old FROM cursor))
      AND NOT pg_visible_in_snapshot(xid, (SELECT old FROM cursor))
      AND NOT (pg_visible_in_snapshot(xid, (SELECT new FROM cursor)) AND id <= (SELECT last_id FROM cursor)))"""  # noqa: S608 - WITH_CURSOR is a constant

# A page is of use as the newest one, and until its retention is over for whoever looks back.
_PAGES_SPENT = """
SELECT coalesce((SELECT max(page) FROM outbox.pages) NOT BETWEEN $1 AND $2 - 1, false)
  AND NOT EXISTS (
    SELECT FROM (SELECT confirmed_at FROM outbox.{segment} ORDER BY page DESC LIMIT 1) AS youngest
    WHERE confirmed_at > clock_timestamp() - $3::interval)"""

_SPENT = {EVENTS.table: _EVENTS_SPENT, PAGES.table: _PAGES_SPENT}


class Outcome(Enum):
    """How a turn ended that found a segment to drop."""

    DROPPED = "segment_dropped"
    POSTPONED = "segment_postponed"  # somebody's transaction is open; the next turn goes on from there
    ATTACHED_AGAIN = "segment_attached_again"  # it held what is not confirmed, against all expectation
    FINALIZED = "segment_finalized"  # somebody else's detaching, interrupted; their table stays


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of a segment."""

    segment: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment of ids from `first` up to `past`. Marked: found to be of no more use."""

    name: str
    first: int
    past: int
    attached: bool
    pending: bool
    marked: bool


async def expire(
    connection: "Connection[Record]",
    retention: timedelta,
    series: Series = EVENTS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Turn | None:
    """Drop the oldest segment of `series` if it is spent; None if it is not.

    Outside a transaction. Waits at most `patience_seconds` for any one transaction of others, and at most half a minute
    in all.
    """
    await connection.execute(
        f"SET lock_timeout = {round(patience_seconds * 1000)}; SET statement_timeout = '{_STATEMENT_SECONDS}s'"
    )
    rows = await connection.fetch(_SEGMENTS, f"outbox.{series.table}", f"{series.table}_")
    if len(rows) < 2:  # the last one says where the next begins
        return None
    segment = _Segment(**rows[0])
    try:
        outcome = await _Expiry(connection, retention, series, patience_seconds).take_up(segment)
    except (LockNotAvailableError, QueryCanceledError):
        outcome = Outcome.POSTPONED
    return None if outcome is None else Turn(segment.name, outcome)


async def writers_gone(connection: "Connection[Record]", table: str, patience_seconds: float) -> bool:
    """Whether every transaction that writes to a table now is over in time. Later ones take later ids."""
    deadline = asyncio.get_running_loop().time() + patience_seconds
    waited_for = await _writing(connection, table)
    while waited_for := waited_for & await _writing(connection, table):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def _writing(connection: "Connection[Record]", table: str) -> set[str]:
    return {row["virtualtransaction"] for row in await connection.fetch(_WRITERS, f"outbox.{table}")}


@dataclass(frozen=True, slots=True)
class _Expiry:
    """One turn on a series."""

    connection: "Connection[Record]"
    retention: timedelta
    series: Series
    patience_seconds: float

    async def take_up(self, segment: _Segment) -> Outcome | None:
        """Go on from the state in which the last turn left a segment; None if it stays."""
        if segment.pending:
            await self._alter(f"DETACH PARTITION outbox.{segment.name} FINALIZE")
            return await self._drop(segment) if segment.marked else Outcome.FINALIZED
        if not segment.attached:
            return await self._drop(segment)
        if not (await self._ids_given_out(segment) and await self._spent(segment)):
            return None
        if not await writers_gone(self.connection, self.series.table, self.patience_seconds):
            return Outcome.POSTPONED
        if not await self._spent(segment):  # with what those writers have committed
            return None
        mark = f"{_MARK}({segment.first}) TO ({segment.past})"
        await self.connection.execute(f"COMMENT ON TABLE outbox.{segment.name} IS '{mark}'")
        await self._alter(f"DETACH PARTITION outbox.{segment.name} CONCURRENTLY")
        return await self._drop(segment)

    async def _ids_given_out(self, segment: _Segment) -> bool:
        next_id: int = await self.connection.fetchval(NEXT_ID.format(sequence=self.series.sequence))
        return segment.past <= next_id

    async def _spent(self, segment: _Segment) -> bool:
        statement = _SPENT[self.series.table].format(segment=segment.name)
        return bool(await self.connection.fetchval(statement, segment.first, segment.past, self.retention))

    async def _drop(self, segment: _Segment) -> Outcome:
        """The end of a detached segment. It is looked at once more, because what is dropped does not come back."""
        if await self._spent(segment):
            await self.connection.execute(f"DROP TABLE outbox.{segment.name}")
            return Outcome.DROPPED
        bounds = f"FROM ({segment.first}) TO ({segment.past})"
        await self._alter(f"ATTACH PARTITION outbox.{segment.name} FOR VALUES {bounds}")
        await self.connection.execute(f"COMMENT ON TABLE outbox.{segment.name} IS NULL")
        return Outcome.ATTACHED_AGAIN

    async def _alter(self, change: str) -> None:
        await self.connection.execute(f"ALTER TABLE outbox.{self.series.table} {change}")
