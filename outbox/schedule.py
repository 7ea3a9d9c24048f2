"""Messages due later: retries, delays, throttled replays. The relay's leader moves them into events when due.

A message waits in one row and becomes an event by one statement that deletes here and inserts there, so it is moved
exactly once whoever dies in between.
"""

from datetime import datetime

from asyncpg import Connection, Record
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import Event
from outbox.record import COLUMNS, refuse_unreadable

_SCHEDULE = text(f"""
INSERT INTO outbox.scheduled (due_at, {COLUMNS})
VALUES (:due_at, :event_id, :type, :subject, :source, :time, :dataschema, :traceparent, :destination, :attempt, :data)
""")  # noqa: S608 - COLUMNS is a constant

# SKIP LOCKED: a transaction that looks at a waiting row must not stop the others from becoming due.
MOVE_DUE = f"""
WITH due AS (
  DELETE FROM outbox.scheduled WHERE id IN (
    SELECT id FROM outbox.scheduled WHERE due_at <= clock_timestamp() ORDER BY due_at, id LIMIT $1
    FOR UPDATE SKIP LOCKED)
  RETURNING id, due_at, {COLUMNS}),
moved AS (
  INSERT INTO outbox.events ({COLUMNS}) SELECT {COLUMNS} FROM due ORDER BY due_at, id RETURNING 1)
SELECT count(*) FROM moved"""  # noqa: S608 - COLUMNS is a constant


async def schedule(tx: AsyncConnection, event: Event, destination: str, due_at: datetime) -> None:
    """Have `event` published to the queue `destination` at `due_at`, in the caller's transaction.

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
            "attempt": event.attempt,
            "data": event.data,
        },
    )


async def move_due(connection: "Connection[Record]", limit: int = 1000) -> int:
    """Turn up to `limit` due rows into events, in order of being due; how many were moved."""
    return int(await connection.fetchval(MOVE_DUE, limit))
