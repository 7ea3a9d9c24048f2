"""Messages due later: retries, delays, throttled replays. A message is one row until `outbox.due_messages` moves it."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import Event
from outbox.message_columns import COLUMN_TYPES, MESSAGE_COLUMNS, message_values
from outbox.record import refuse_unreadable

_SCHEDULE = text(f"""
INSERT INTO outbox.scheduled (due_at, {MESSAGE_COLUMNS})
VALUES (:due_at, {", ".join(f":{column}" for column in COLUMN_TYPES)})
""")  # noqa: S608 - constants

# Reads the whole table: the retries of an outage, or a replay of thousands that is spread over an hour.
_WAITING = text("SELECT destination, count(*) AS messages FROM outbox.scheduled GROUP BY destination")


async def schedule(tx: AsyncConnection, event: Event, destination: str | None, due_at: datetime) -> None:
    """Publish `event` at `due_at` to the queue `destination`, or to the event exchange if None; the caller commits.

    Raises EventTooLargeError or EnvelopeError.
    """
    refuse_unreadable(event)
    await tx.execute(_SCHEDULE, {"due_at": due_at, **message_values(event, destination)})


async def waiting(tx: AsyncConnection) -> list[tuple[str | None, int]]:
    """How many messages are scheduled for each queue; None is the event exchange."""
    return [(row.destination, row.messages) for row in await tx.execute(_WAITING)]
