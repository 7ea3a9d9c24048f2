"""Scheduled messages that are due become events: one statement deletes them here and inserts them there.

So a message is moved exactly once, wherever a process dies in between.

Moved rows leave dead entries at the head of the index (due_at, id) as long as any snapshot is older than they are. So
the scheduler keeps the position that it has reached and reads from there on. Rows before that position, committed late
with an older due_at, it reads apart and less often. Called by `relay.maintenance.scheduler`; `outbox.schedule` writes
the rows.
"""

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Connection, Record

from outbox.message_columns import MESSAGE_COLUMNS
from outbox.missing_partition import missing_segment_named

# The due rows after position ($1, $2) and before position ($3, $4); null is no bound. It costs what it moves, however
# many rows are scheduled: row comparisons and statement_timestamp() bound the walk of the index, which
# clock_timestamp() does not, and no estimate can turn an array into a join with the whole table. By ctid, because after
# an ANALYZE of the empty table the planner takes the index (due_at, id) for ids as well, and walks all of it; a ctid
# stays what it is, because a scheduled row is never updated. SKIP LOCKED: a transaction that holds one scheduled row
# must not keep the others from becoming due. greatest: Python has no -infinity.
MOVE_DUE = f"""
WITH due AS (
  DELETE FROM outbox.scheduled WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM outbox.scheduled
    WHERE (due_at, id) > (coalesce($1::timestamptz, '-infinity'), coalesce($2::bigint, 0))
      AND (due_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::bigint, 0))
      AND due_at <= statement_timestamp()
    ORDER BY due_at, id LIMIT $5 FOR UPDATE SKIP LOCKED))
  RETURNING id, due_at, {MESSAGE_COLUMNS}),
moved AS (
  INSERT INTO outbox.events ({MESSAGE_COLUMNS}) SELECT {MESSAGE_COLUMNS} FROM due ORDER BY due_at, id)
SELECT count(*) OVER () AS rows, greatest(due_at, '2000-01-01Z') AS due_at, id
FROM due ORDER BY due_at DESC, id DESC LIMIT 1"""  # noqa: S608 - constants

# Before every scheduled row, and before every row that will come in order.
START = """
SELECT greatest(least((SELECT due_at FROM outbox.scheduled ORDER BY due_at, id LIMIT 1), statement_timestamp()),
                '2000-01-01Z')"""


@dataclass(frozen=True, slots=True, order=True)
class DuePosition:
    """A row's position in the order in which rows become due."""

    due_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows became events, and the position of the last one."""

    rows: int
    last: DuePosition | None


async def move_due(
    connection: "Connection[Record]",
    limit: int = 1000,
    after: DuePosition | None = None,
    before: DuePosition | None = None,
) -> Moved:
    """Turn up to `limit` due rows between two positions into events, in order of due_at; None is no bound.

    Raises NoSegmentError.
    """
    with missing_segment_named():
        last = await connection.fetchrow(MOVE_DUE, *_bound(after), *_bound(before), limit)
    return Moved(0, None) if last is None else Moved(last["rows"], DuePosition(last["due_at"], last["id"]))


async def start(connection: "Connection[Record]") -> DuePosition:
    """The position before every committed row, for a scheduler that starts."""
    return DuePosition(await connection.fetchval(START), 0)


def _bound(position: DuePosition | None) -> tuple[datetime | None, int | None]:
    return (None, None) if position is None else (position.due_at, position.id)
