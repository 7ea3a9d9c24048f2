"""The one writer of events: a change and its event are committed together or not at all.

`record` is for a transaction that already holds its order's row lock. `insert_from` is the same INSERT as a fragment
for a statement that makes or locks the row itself: it selects FROM that row, so the event's id is taken after the
lock. Ids are then in commit order per subject, which is the order that the relay publishes in.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from asyncpg import CheckViolationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.envelope import MAX_DATA_BYTES, Event, decode, encode_headers
from runtime.database import lacks_partition

COLUMNS = "event_id, type, subject, source, time, dataschema, traceparent, destination, generation, data"

_RECORD = text(f"""
INSERT INTO outbox.events ({COLUMNS})
SELECT {COLUMNS}
FROM unnest(CAST(:event_ids AS uuid[]), CAST(:types AS text[]), CAST(:subjects AS text[]), CAST(:sources AS text[]),
            CAST(:times AS timestamptz[]), CAST(:dataschemas AS text[]), CAST(:traceparents AS text[]),
            CAST(:destinations AS text[]), CAST(:generations AS smallint[]), CAST(:datas AS bytea[]))
     WITH ORDINALITY AS recorded ({COLUMNS}, place)
ORDER BY place
""")  # noqa: S608 - COLUMNS is a constant


class EventTooLargeError(Exception):
    """An event's data is over the limit; it was not recorded. The text names the event and both sizes."""


class NoSegmentError(Exception):
    """An event's id found no segment, and its transaction cannot be committed. It passes when segments are made."""


@contextmanager
def told_without_segment() -> Iterator[None]:
    """Around a statement that records events: raises NoSegmentError in place of the driver's check violation."""
    try:
        yield
    except (DBAPIError, CheckViolationError) as error:
        cause = lacks_partition(error, "events")
        if cause is None:
            raise
        event_id = "".join(re.findall(r"\((\d+)\)", cause.detail or "")) or "unknown"
        raise NoSegmentError(
            f"outbox.events has no segment for id {event_id}, so nothing was recorded: the relay that leads makes "
            "segments ahead and has not done so for long; start one, or run `waybill migrate`"
        ) from error


async def record(tx: AsyncConnection, events: Sequence[Event], destination: str | None = None) -> None:
    """Record events in the caller's transaction, in this order.

    `destination` is a queue for events addressed to one consumer alone; None publishes to the event exchange.
    Raises EventTooLargeError or EnvelopeError before anything is written, and NoSegmentError.
    """
    for event in events:
        refuse_unreadable(event)
    values = {
        "event_ids": [event.id for event in events],
        "types": [event.type for event in events],
        "subjects": [event.subject for event in events],
        "sources": [event.source for event in events],
        "times": [event.time for event in events],
        "dataschemas": [event.dataschema for event in events],
        "traceparents": [event.traceparent for event in events],
        "destinations": [destination] * len(events),
        "generations": [event.generation for event in events],
        "datas": [event.data for event in events],
    }
    with told_without_segment():
        await tx.execute(_RECORD, values)


def insert_from(row: str, data: str = "CAST(:event_data AS bytea)") -> str:
    """The INSERT as SQL text that records one event per row of `row`, a CTE of the same statement.

    It is executed within `told_without_segment`. Its parameters are those of `parameters`; `data` is the SQL expression
    of the event's data, for data that the statement itself completes. Only for text from our own code: both go into the
    statement as they are.
    """
    return f"""INSERT INTO outbox.events (event_id, type, subject, source, time, dataschema, traceparent, data)
    SELECT CAST(:event_id AS uuid), CAST(:event_type AS text), CAST(:event_subject AS text),
           CAST(:event_source AS text), CAST(:event_time AS timestamptz), CAST(:event_dataschema AS text),
           CAST(:event_traceparent AS text), {data}
    FROM {row}"""  # noqa: S608 - see above


def parameters(event: Event) -> dict[str, object]:
    """The bind parameters of `insert_from`. Raises EventTooLargeError or EnvelopeError."""
    refuse_unreadable(event)
    return {
        "event_id": event.id,
        "event_type": event.type,
        "event_subject": event.subject,
        "event_source": event.source,
        "event_time": event.time,
        "event_dataschema": event.dataschema,
        "event_traceparent": event.traceparent,
        "event_data": event.data,
    }


def refuse_unreadable(event: Event) -> None:
    """Refuse what the broker or a consumer would refuse later, out of sight.

    Raises EventTooLargeError, or EnvelopeError naming the attribute that no consumer could read.
    """
    if len(event.data) > MAX_DATA_BYTES:
        raise EventTooLargeError(
            f"event {event.type} {event.id} of {event.subject}: data of {len(event.data)} bytes is over the limit "
            f"of {MAX_DATA_BYTES}"
        )
    decode(encode_headers(event), event.data)
