"""Every event type of an order, with the schema and version of its data. Pure.

Events are thin: they name the order and carry the facts that a reader outside needs first. A step reads the rest
from the order, in its own transaction. `dataschema` is `urn:waybill:<type>:<version>`. A removed or changed field
needs a new version, an added one does not.
"""

import json
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from orders.model import RejectReason


class EventDataError(Exception):
    """An event's data does not have its type's schema; the text names the field and its value."""


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """The fields of every event of an order. The event's subject is the order's id."""

    type: ClassVar[str]
    version: ClassVar[int] = 1

    order_id: UUID
    number: str
    reference: str

    @classmethod
    def schema_name(cls) -> str:
        """The `dataschema` attribute."""
        return f"urn:waybill:{cls.type}:{cls.version}"

    def data(self) -> bytes:
        """The event's JSON: keys as the fields are named, money as strings."""
        return json.dumps(asdict(self), default=str, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class OrderPlaced(OrderEvent):
    """A client's order is accepted and stored."""

    type: ClassVar[str] = "order.placed"
    currency: str
    net_total: Decimal


@dataclass(frozen=True, slots=True)
class OrderValidated(OrderEvent):
    """Every SKU is sold, every price is on the list, the customer is complete."""

    type: ClassVar[str] = "order.validated"


@dataclass(frozen=True, slots=True)
class InventoryReserved(OrderEvent):
    """Stock for every line is taken."""

    type: ClassVar[str] = "inventory.reserved"
    units: int


@dataclass(frozen=True, slots=True)
class OrderSynced(OrderEvent):
    """SAP holds the order as a sales document."""

    type: ClassVar[str] = "order.synced"
    sap_document: str


@dataclass(frozen=True, slots=True)
class OrderFulfilled(OrderEvent):
    """E-mail, invoice and analytics are all done."""

    type: ClassVar[str] = "order.fulfilled"


@dataclass(frozen=True, slots=True)
class OrderCompleted(OrderEvent):
    """Nothing is left to do."""

    type: ClassVar[str] = "order.completed"


@dataclass(frozen=True, slots=True)
class OrderRejected(OrderEvent):
    """The order is rejected, for these reasons."""

    type: ClassVar[str] = "order.rejected"
    reasons: tuple[RejectReason, ...]


EVENT_TYPES: dict[str, type[OrderEvent]] = {
    event.type: event
    for event in (
        OrderPlaced,
        OrderValidated,
        InventoryReserved,
        OrderSynced,
        OrderFulfilled,
        OrderCompleted,
        OrderRejected,
    )
}


@dataclass(frozen=True, slots=True)
class ExternalEvent:
    """An event of another service that a step may name in `listens_to`.

    It is published to our event exchange with its type as the routing key, by the other service or through a binding
    of its exchange to ours. `source` and `dataschema` are the attributes that it must have; a message without a
    `dataschema` is taken for this one. `order_id_field` names the field of its JSON data that holds the order's id.
    Its id may be any text that is unique within its source: `outbox.external_id` maps it.
    """

    type: str
    source: str
    dataschema: str
    order_id_field: str = "order_id"


EXTERNAL_EVENTS: dict[str, ExternalEvent] = {}


def schema_of(event_type: str) -> str:
    """The `dataschema` of an event type that a step may listen to."""
    if event_type in EXTERNAL_EVENTS:
        return EXTERNAL_EVENTS[event_type].dataschema
    return EVENT_TYPES[event_type].schema_name()


def parse_order_id(event_type: str, data: bytes) -> UUID:
    """The order that an event is about.

    Raises EventDataError when the type is unknown, the data is no JSON object, a field of the type's schema is
    missing, or the order's id is not a UUID.
    """
    if event_type in EXTERNAL_EVENTS:
        needed = [name := EXTERNAL_EVENTS[event_type].order_id_field]
    elif event_type in EVENT_TYPES:
        needed, name = [field.name for field in fields(EVENT_TYPES[event_type])], "order_id"
    else:
        raise EventDataError(f"type {event_type!r} is not an event of an order")
    values = _json_object(data)
    missing = [field for field in needed if field not in values]
    if missing:
        raise EventDataError(f"data of {event_type} lacks {', '.join(missing)}")
    try:
        return UUID(values[name])
    except (ValueError, TypeError, AttributeError) as error:
        raise EventDataError(f"{name} {values[name]!r:.100} is not a UUID") from error


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EventDataError(f"data is not JSON: {data[:100]!r}") from error
    if not isinstance(values, dict):
        raise EventDataError(f"data is not a JSON object: {data[:100]!r}")
    return values
