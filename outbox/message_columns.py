"""The columns of a message, in one list: what `outbox.events` and `outbox.scheduled` keep of an event. Pure.

SQL column lists, casts and bind values are derived from COLUMN_TYPES by `record`, `schedule` and `cursor.reader`. A new
CloudEvents attribute is added here, in `envelope` (the event and its headers), in `tables` and in `cursor.reader.Row`;
tests/unit/outbox/test_message_columns.py holds the four together.
"""

from outbox.envelope import Event

COLUMN_TYPES = {
    "event_id": "uuid",
    "type": "text",
    "subject": "text",
    "source": "text",
    "time": "timestamptz",
    "dataschema": "text",
    "traceparent": "text",
    "destination": "text",
    "generation": "smallint",
    "data": "bytea",
}
MESSAGE_COLUMNS = ", ".join(COLUMN_TYPES)


def message_values(event: Event, destination: str | None) -> dict[str, object]:
    """A message's values by column. `destination` is a queue; None is the event exchange."""
    return {
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
    }
