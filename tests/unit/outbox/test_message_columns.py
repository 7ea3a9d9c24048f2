"""The list of a message's columns agrees with the tables, the reader's row and the values that are written."""

from outbox.cursor.reader import Row
from outbox.message_columns import COLUMN_TYPES, message_values
from outbox.tables import events, scheduled
from tests.support.builders.events import new_event


def test_the_tables_the_readers_row_and_the_values_have_the_same_columns_in_the_same_order() -> None:
    columns = list(COLUMN_TYPES)
    assert [column.name for column in events.c][-len(columns) :] == columns
    assert [column.name for column in scheduled.c][-len(columns) :] == columns
    assert list(Row._fields) == ["id", *columns, "recorded_at"]
    assert list(message_values(new_event(), None)) == columns


def test_a_row_becomes_the_event_that_its_values_were_made_of() -> None:
    event = new_event(generation=3)
    row = Row(id=1, recorded_at=event.time, **message_values(event, "sap"))  # type: ignore[arg-type]
    assert row.as_event() == event
