"""Events to record and publish: one plausible event, changed field by field, and the rows and pages made of it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from outbox.cursor.reader import Page, Row, Window
from outbox.envelope import Event, new_event_id


def new_event(subject: str = "order-1", **changes: Any) -> Event:
    """An event with an id of its own; `changes` are fields of Event."""
    event = Event(
        id=new_event_id(),
        type="order.placed",
        subject=subject,
        source="urn:waybill:tests",
        time=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        data=b'{"order_id":"1"}',
        dataschema="urn:waybill:order.placed:1",
    )
    return replace(event, **changes)


def a_row(row_id: int, subject: str = "order-1", destination: str | None = None) -> Row:
    """An event as the relay reads it."""
    event = new_event(subject)
    return Row(
        id=row_id,
        event_id=event.id,
        type=event.type,
        subject=subject,
        source=event.source,
        time=event.time,
        dataschema=event.dataschema,
        traceparent=event.traceparent,
        destination=destination,
        generation=event.generation,
        data=event.data,
        recorded_at=datetime.now(UTC),
    )


def a_page(rows: Iterable[Row]) -> Page:
    """A page of these rows in a window of its own."""
    rows = tuple(rows)
    return Page(Window((1, 1, ()), (2, 2, ()), rows[0].id - 1, rows[-1].id), rows)
