"""Messages due later: retries, delays, throttled replays. The relay's leader moves them into events when due.

A message waits in one row and becomes an event by one statement that deletes here and inserts there, so it is moved
exactly once whoever dies in between.

Moved rows leave dead entries at the head of the index (due_at, id) for as long as a snapshot is older than they are. So
a mover keeps the place that it has reached and looks from there on, and looks before it, at rows that were committed
late with an older due_at, apart and less often.
"""

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Connection, Record
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import Event
from outbox.record import COLUMNS, refuse_unreadable, told_without_segment

_SCHEDULE = text(f"""
INSERT INTO outbox.scheduled (due_at, {COLUMNS})
VALUES (:due_at, :event_id, :type, :subject, :source, :time, :dataschema, :traceparent, :destination, :generation, :data)
""")  # noqa: S608 - COLUMNS is a constant

# The due rows after place ($1, $2) and before place ($3, $4); null is no bound. It costs what it moves, whatever
# else waits: row comparisons and statement_timestamp() bound the walk of the index, which clock_timestamp() does not,
# and no estimate can make a join with all that waits out of an array of ids. SKIP LOCKED: a transaction that looks at
# a waiting row must not stop the others from becoming due.
MOVE_DUE = f"""
WITH due AS (
  DELETE FROM outbox.scheduled WHERE id = ANY(ARRAY(
    SELECT id FROM outbox.scheduled
    WHERE (due_at, id) > (coalesce($1::timestamptz, '-infinity'), coalesce($2::bigint, 0))
      AND (due_at, id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::bigint, 0))
      AND due_at <= statement_timestamp()
    ORDER BY due_at, id LIMIT $5 FOR UPDATE SKIP LOCKED))
  RETURNING id, due_at, {COLUMNS}),
moved AS (
  INSERT INTO outbox.events ({COLUMNS}) SELECT {COLUMNS} FROM due ORDER BY due_at, id)
SELECT count(*) OVER () AS rows, greatest(due_at, '2000-01-01Z') AS due_at, id
FROM due ORDER BY due_at DESC, id DESC LIMIT 1"""  # noqa: S608 - COLUMNS is a constant; greatest: Python has no -infinity


# Before every row that waits and every row that is to come in order.
START = """
SELECT greatest(least((SELECT due_at FROM outbox.scheduled ORDER BY due_at, id LIMIT 1), statement_timestamp()),
                '2000-01-01Z')"""

# Reads all that waits: the retries of an outage, or a replay of thousands that is spread over an hour.
_WAITING = text("SELECT destination, count(*) AS messages FROM outbox.scheduled GROUP BY destination")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A row's place in the order of being due."""

    due_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows became events, and the place of the last of them."""

    rows: int
    last: Place | None


async def schedule(tx: AsyncConnection, event: Event, destination: str | None, due_at: datetime) -> None:
    """Have `event` published at `due_at` to the queue `destination`, None is the event exchange; the caller commits.

    Raises EventTooLargeError or EnvelopeError.
    """
    refuse_unreadable(event)
    await tx.execute(
        _SCHEDULE,
        {
            "due_at": due_at,
            "event_id": event.id,
            "type": event.type,
            "subject": event.subject,
            "source": event.source,
            "time": event.time,
            "dataschema": event.dataschema,
            "traceparent": event.traceparent,
            "destination": destination,
            "generation": event.generation,
            "data": event.data,
        },
    )


async def waiting(tx: AsyncConnection) -> list[tuple[str | None, int]]:
    """How many messages wait for each queue; None is the event exchange."""
    return [(row.destination, row.messages) for row in await tx.execute(_WAITING)]


async def move_due(
    connection: "Connection[Record]", limit: int = 1000, after: Place | None = None, before: Place | None = None
) -> Moved:
    """Turn up to `limit` due rows between two places into events, in order of being due; None is no bound.

    Raises NoSegmentError.
    """
    with told_without_segment():
        last = await connection.fetchrow(MOVE_DUE, *_bound(after), *_bound(before), limit)
    return Moved(0, None) if last is None else Moved(last["rows"], Place(last["due_at"], last["id"]))


async def start(connection: "Connection[Record]") -> Place:
    """The place before every due row that is committed, for a mover that begins."""
    return Place(await connection.fetchval(START), 0)


def _bound(place: Place | None) -> tuple[datetime | None, int | None]:
    return (None, None) if place is None else (place.due_at, place.id)
