"""Queries on orders and their lines: place, find, read and change them.

This is the only module that writes these tables. `orders.counts`, `orders.sales` and `orders.audit` read them for their
own sums. Every function takes an open connection; none commits.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.model import (
    TRANSITIONS,
    Address,
    Customer,
    Line,
    NewOrder,
    Order,
    RejectReason,
    Status,
    invoice_number,
)
from outbox.missing_partition import missing_segment_named
from outbox.record import insert_from

# Order, lines and event in one statement. A reference that is taken makes no row, hence no line and no event.
_PLACE = text(f"""
WITH placed AS (
  INSERT INTO orders (id, reference, customer_name, customer_email, street, city, region, postal_code, country,
                      currency, net_total, open_joins, leaf_steps)
  VALUES (:id, :reference, :customer_name, :customer_email, :street, :city, :region, :postal_code, :country,
          :currency, :net_total, CAST(:open_joins AS text[]), CAST(:leaf_steps AS text[]))
  ON CONFLICT (reference) DO NOTHING
  RETURNING id, number),
lines AS (
  INSERT INTO order_lines (order_id, position, sku, quantity, unit_price, discount, net)
  SELECT placed.id, line.position, line.sku, line.quantity, line.unit_price, line.discount, line.net
  FROM placed, unnest(CAST(:skus AS text[]), CAST(:quantities AS int[]), CAST(:unit_prices AS numeric[]),
                      CAST(:discounts AS numeric[]), CAST(:nets AS numeric[]))
               WITH ORDINALITY AS line (sku, quantity, unit_price, discount, net, position)),
event AS (
  {
    insert_from(
        "placed",
        data="convert_to(CAST(CAST(:event_data AS jsonb) || jsonb_build_object('number', number) AS text), 'UTF8')",
    )
})
SELECT number FROM placed
""")  # noqa: S608 - text from our own code only

_ID_BY_REFERENCE = text("SELECT id FROM orders WHERE reference = :reference")

# A client's reference may be another order's number: then the number counts.
_ID_BY_NAME = text("""
SELECT id FROM orders WHERE number = upper(:name) OR reference = :name ORDER BY number = upper(:name) DESC LIMIT 1
""")

_COLUMNS = """
o.id, o.number, o.reference, o.status, o.customer_name, o.customer_email, o.street, o.city, o.region, o.postal_code,
o.country, o.currency, o.reject_reasons, o.sap_document, o.placed_at, o.completed_at,
o.open_joins, o.leaf_steps,
i.series, i.sequence,
(SELECT json_agg(json_build_array(l.sku, l.quantity, l.unit_price::text, l.discount::text, p.name) ORDER BY l.position)
 FROM order_lines l LEFT JOIN products p ON p.sku = l.sku WHERE l.order_id = o.id) AS lines"""

_GET = text(f"SELECT {_COLUMNS} FROM orders o LEFT JOIN invoices i ON i.order_id = o.id WHERE o.id = :id")  # noqa: S608

# Newest first; (placed_at, id) is the cursor, because two orders can share a microsecond.
_PAGE = text(f"""
SELECT {_COLUMNS} FROM orders o LEFT JOIN invoices i ON i.order_id = o.id
WHERE CAST(:placed_at AS timestamptz) IS NULL OR (o.placed_at, o.id) < (:placed_at, :id)
ORDER BY o.placed_at DESC, o.id DESC LIMIT :limit
""")  # noqa: S608 - _COLUMNS is a constant

_NUMBERS = text("SELECT id, number FROM orders WHERE id = ANY(CAST(:ids AS uuid[]))")

_ADVANCE = text("""
UPDATE orders SET status = :to, sap_document = coalesce(:sap_document, sap_document),
                  completed_at = CASE WHEN :to = 'completed' THEN clock_timestamp() END
WHERE id = :id AND status = :from
RETURNING number, reference
""")

_REJECT = text("""
UPDATE orders SET status = 'rejected', reject_reasons = CAST(:reasons AS jsonb), completed_at = clock_timestamp()
WHERE id = :id AND status = :from
""")

# Never a count of siblings: two that commit at once would both miss the other. The row lock makes the second wait, and
# Postgres then applies it to the row that the first has written. Decision 0024.
_CLEAR_JOIN = text("""
UPDATE orders SET open_joins = array_remove(open_joins, :step) WHERE id = :id AND :step = ANY(open_joins)
RETURNING open_joins
""")


@dataclass(frozen=True, slots=True)
class Names:
    """An order's names for people: our number and the client's reference."""

    number: str
    reference: str


class UnexpectedStatusError(Exception):
    """An order is not in the status that a change starts from; nothing was changed."""


async def place(
    tx: AsyncConnection,
    order_id: UUID,
    order: NewOrder,
    event: dict[str, object],
    *,
    joined: Sequence[str],
    leaves: Sequence[str],
) -> str | None:
    """Store an order with its event in one statement; its number, or None when the reference is taken.

    `event` is outbox.record.parameters of the event; the statement adds the order's number to its data. `joined` and
    `leaves` are the names of the joined and the leaf steps that the order owes. Raises NoSegmentError.
    """
    values = {
        "id": order_id,
        "reference": order.reference,
        "customer_name": order.customer.name,
        "customer_email": order.customer.email,
        **asdict(order.customer.address),
        "currency": order.currency,
        "net_total": order.net_total,
        "open_joins": list(joined),
        "leaf_steps": list(leaves),
        "skus": [line.sku for line in order.lines],
        "quantities": [line.quantity for line in order.lines],
        "unit_prices": [line.unit_price for line in order.lines],
        "discounts": [line.discount for line in order.lines],
        "nets": [line.net for line in order.lines],
    }
    event = {**event, "event_data": bytes(event["event_data"]).decode()}  # type: ignore[call-overload]
    with missing_segment_named():
        return (await tx.execute(_PLACE, {**values, **event})).scalar_one_or_none()


async def id_by_reference(tx: AsyncConnection, reference: str) -> UUID | None:
    """The order that has a client's reference."""
    return (await tx.execute(_ID_BY_REFERENCE, {"reference": reference})).scalar_one_or_none()


async def id_by_name(tx: AsyncConnection, name: str) -> UUID | None:
    """The order that has this number or, if none has, this reference of its client's."""
    return (await tx.execute(_ID_BY_NAME, {"name": name})).scalar_one_or_none()


async def get(tx: AsyncConnection, order_id: UUID) -> Order | None:
    """One order with its lines."""
    row = (await tx.execute(_GET, {"id": order_id})).one_or_none()
    return None if row is None else _order(row)


async def newest(tx: AsyncConnection, limit: int, before: tuple[datetime, UUID] | None = None) -> list[Order]:
    """Up to `limit` orders, newest first, older than the cursor `before` = (placed_at, id)."""
    placed_at, order_id = before or (None, None)
    rows = await tx.execute(_PAGE, {"placed_at": placed_at, "id": order_id, "limit": limit})
    return [_order(row) for row in rows]


async def numbers(tx: AsyncConnection, order_ids: Collection[UUID]) -> dict[UUID, str]:
    """The numbers of those of `order_ids` that are orders."""
    return {row.id: row.number for row in await tx.execute(_NUMBERS, {"ids": list(order_ids)})}


async def advance(
    tx: AsyncConnection, order_id: UUID, old: Status, new: Status, sap_document: str | None = None
) -> Names:
    """Move an order from one status to the next; return its names. Raises UnexpectedStatusError."""
    assert new in TRANSITIONS[old], f"no order goes from {old} to {new}"
    values = {"id": order_id, "from": old.value, "to": new.value, "sap_document": sap_document}
    row = (await tx.execute(_ADVANCE, values)).one_or_none()
    if row is None:
        raise UnexpectedStatusError(f"order {order_id} is not {old}, so it cannot become {new}")
    return Names(row.number, row.reference)


async def reject(tx: AsyncConnection, order_id: UUID, old: Status, reasons: Sequence[RejectReason]) -> None:
    """Reject an order with its reasons. Raises UnexpectedStatusError."""
    assert Status.REJECTED in TRANSITIONS[old], f"no {old} order is rejected"
    values = {"id": order_id, "from": old.value, "reasons": json.dumps([asdict(reason) for reason in reasons])}
    if (await tx.execute(_REJECT, values)).rowcount != 1:
        raise UnexpectedStatusError(f"order {order_id} is not {old}, so it cannot be rejected")


async def clear_join(tx: AsyncConnection, order_id: UUID, step: str) -> bool:
    """Remove a joined step from its order's open joins; True if it was the last. Locks the order until commit.

    False also for a step that joined the table of steps after the order was placed: the order does not owe it.
    """
    row = (await tx.execute(_CLEAR_JOIN, {"id": order_id, "step": step})).one_or_none()
    return row is not None and not row.open_joins


def _order(row: Row[Any]) -> Order:
    return Order(
        reference=row.reference,
        customer=Customer(
            row.customer_name,
            row.customer_email,
            Address(row.street, row.city, row.country, row.postal_code, row.region),
        ),
        currency=row.currency,
        lines=tuple(_line(line) for line in row.lines),
        id=row.id,
        number=row.number,
        status=Status(row.status),
        placed_at=row.placed_at,
        completed_at=row.completed_at,
        sap_document=row.sap_document,
        invoice_number=None if row.sequence is None else invoice_number(row.series, row.sequence),
        reject_reasons=tuple(RejectReason(**reason) for reason in row.reject_reasons or ()),
        open_joins=frozenset(row.open_joins),
        leaf_steps=frozenset(row.leaf_steps),
    )


def _line(values: Sequence[Any]) -> Line:
    sku, quantity, unit_price, discount, name = values
    return Line(sku, quantity, _trimmed(unit_price), _trimmed(discount), name)


def _trimmed(stored: str) -> Decimal:
    """A stored number without the zeros that its column's scale adds, but with two decimals at least."""
    value = Decimal(stored)
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "Postgres's CHECKs keep NaN and infinity out"
    return value.quantize(Decimal(1).scaleb(min(exponent, -2)))
