"""The only writer of events: a change and its event are committed together or not at all.

`record` is for a transaction that already holds the row lock of its subject, an order. `insert_from` is the same INSERT
as a fragment for a statement that makes or locks that row itself: it selects FROM the row, so the event's id is taken
after the lock. Ids are then in commit order per subject, which is the order that the relay publishes in.

Called by `orders` and by `outbox.dead_letters.replay`; `outbox.due_messages` moves rows by a statement of its own.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import MAX_DATA_BYTES, Event, decode, encode_headers
from outbox.message_columns import COLUMN_TYPES, MESSAGE_COLUMNS, message_values
from outbox.missing_partition import missing_segment_named

_ARRAYS = ", ".join(f"CAST(:{column} AS {kind}[])" for column, kind in COLUMN_TYPES.items())
_RECORD = text(f"""
INSERT INTO outbox.events ({MESSAGE_COLUMNS})
SELECT {MESSAGE_COLUMNS}
FROM unnest({_ARRAYS})
     WITH ORDINALITY AS recorded ({MESSAGE_COLUMNS}, place)
ORDER BY place
""")  # noqa: S608 - constants

# Reading a row would open and lock every segment.
_CHECK_TABLE = text("SELECT 1 FROM outbox.events WHERE false")

# `insert_from` records for the event exchange, under the first generation: the two columns have these defaults.
_INSERTED = {column: kind for column, kind in COLUMN_TYPES.items() if column not in {"destination", "generation"}}


class EventTooLargeError(Exception):
    """An event's data is over the limit; it was not recorded. The text names the event and both sizes."""


async def record(tx: AsyncConnection, events: Sequence[Event], destination: str | None = None) -> None:
    """Record events in the caller's transaction, in this order.

    `destination` is a queue for events addressed to one consumer alone; None publishes to the event exchange.
    Raises EventTooLargeError or EnvelopeError before anything is written, and NoSegmentError.
    """
    for event in events:
        refuse_unreadable(event)
    rows = [message_values(event, destination) for event in events]
    values = {column: [row[column] for row in rows] for column in COLUMN_TYPES}
    with missing_segment_named():
        await tx.execute(_RECORD, values)


async def check_table(tx: AsyncConnection) -> None:
    """Check that the table of events exists. Raises ProgrammingError if it does not. Called by the API's readiness."""
    await tx.execute(_CHECK_TABLE)


def insert_from(row: str, data: str = "CAST(:event_data AS bytea)") -> str:
    """The INSERT as SQL text that records one event per row of `row`, a CTE of the same statement.

    Execute it within `missing_segment_named`, with the values of `parameters`. `data` is the SQL expression of the
    event's data, for data that the statement itself completes. Only for text from our own code: both arguments go into
    the statement as they are.
    """
    casts = {column: f"CAST(:{_parameter(column)} AS {kind})" for column, kind in _INSERTED.items()}
    return f"""INSERT INTO outbox.events ({", ".join(_INSERTED)})
    SELECT {", ".join((casts | {"data": data}).values())}
    FROM {row}"""  # noqa: S608 - see above


def parameters(event: Event) -> dict[str, object]:
    """The bind parameters of `insert_from`. Raises EventTooLargeError or EnvelopeError."""
    refuse_unreadable(event)
    values = message_values(event, None)
    return {_parameter(column): values[column] for column in _INSERTED}


def _parameter(column: str) -> str:
    """A column's bind parameter, which must not collide with those of the statement around it."""
    return column if column.startswith("event_") else f"event_{column}"


def refuse_unreadable(event: Event) -> None:
    """Refuse an event that the broker or a consumer would refuse later, where no caller could handle it.

    Raises EventTooLargeError, or EnvelopeError naming the attribute that no consumer could read.
    """
    if len(event.data) > MAX_DATA_BYTES:
        raise EventTooLargeError(
            f"event {event.type} {event.id} of {event.subject}: data of {len(event.data)} bytes is over the limit "
            f"of {MAX_DATA_BYTES}"
        )
    decode(encode_headers(event), event.data)
