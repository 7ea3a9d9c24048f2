"""The events of a round: order events with an order's document as their body, 616 bytes on average."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache

from sqlalchemy.ext.asyncio import AsyncEngine

from lab.workload.generator import generate
from orders.events import OrderPlaced
from outbox.envelope import Event, new_event_id
from outbox.record import record

EVENT_TYPE = OrderPlaced.type
SUBJECTS = 10_000
TRANSACTION_EVENTS = 500
_BODIES = 1_000


def new_events(count: int) -> list[Event]:
    """Events over SUBJECTS subjects in turn; when there are fewer events, each has a subject of its own."""
    subjects = [str(new_event_id()) for _ in range(min(count, SUBJECTS))]
    texts = bodies()
    return [
        Event(
            id=new_event_id(),
            type=EVENT_TYPE,
            subject=subjects[number % len(subjects)],
            source="urn:waybill:bench",
            time=datetime.now(UTC),
            data=texts[number % len(texts)],
            dataschema=OrderPlaced.schema_name(),
        )
        for number in range(count)
    ]


@cache
def bodies() -> tuple[bytes, ...]:
    """The JSON documents of generated orders."""
    orders = (asdict(each.order) for each in generate(_BODIES).orders)
    return tuple(json.dumps(order, default=str, ensure_ascii=False, separators=(",", ":")).encode() for order in orders)


async def record_all(engine: AsyncEngine, events: Sequence[Event]) -> None:
    """Commit the events, TRANSACTION_EVENTS at a time."""
    for start in range(0, len(events), TRANSACTION_EVENTS):
        async with engine.begin() as tx:
            await record(tx, events[start : start + TRANSACTION_EVENTS])
