"""The operations on an order: place it, read its steps, record its events. All run in the caller's transaction."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from orders import repository, steps
from orders.events import EVENT_TYPES, OrderEvent, OrderPlaced
from orders.model import NewOrder, Order, StepProgress, StepState
from orders.workflow import STEPS, Step, joined_steps, leaf_steps
from outbox.envelope import Event, new_event_id
from outbox.record import parameters, record
from runtime.tracing.tracer import traceparent


@dataclass(frozen=True, slots=True)
class Placed:
    """An order is accepted."""

    order_id: UUID
    number: str
    event_id: UUID


@dataclass(frozen=True, slots=True)
class ReferenceTaken:
    """An order with this reference was accepted before; nothing was stored."""

    order_id: UUID


async def place(tx: AsyncConnection, order: NewOrder, source: str) -> Placed | ReferenceTaken:
    """Store an order and its event `order.placed`, in one statement.

    `tx` may be in autocommit: the statement is whole by itself. Raises NoSegmentError.
    """
    order_id = new_event_id()
    placed = OrderPlaced(order_id, "", order.reference, order.currency, order.net_total)
    event = envelope(placed, source)
    number = await repository.place(tx, order_id, order, parameters(event), joined=joined_steps(), leaves=leaf_steps())
    if number is not None:
        return Placed(order_id, number, event.id)
    # The other order's transaction may have committed after our statement's snapshot: only a new statement sees it.
    taken_by = await repository.id_by_reference(tx, order.reference)
    assert taken_by is not None, "orders are never deleted, so the one with this reference exists"
    return ReferenceTaken(taken_by)


async def progress(tx: AsyncConnection, order: Order) -> list[StepProgress]:
    """Every step that this order goes through, in order of the workflow; a step that has not begun is pending.

    A rejected order's steps are those that ran and the e-mail about the rejection.
    """
    started = {(event_type, step.step): step for event_type, step in await steps.started(tx, order.id)}
    shown = []
    for step in STEPS:
        for event_type in _triggers(step, rejected=bool(order.reject_reasons)):
            known = started.get((event_type, step.name))
            if known is not None:
                shown.append(known)
            elif (not order.reject_reasons or event_type == "order.rejected") and _owes(order, step, event_type):
                shown.append(StepProgress(step.name, StepState.PENDING, 0))
    return shown


def _triggers(step: Step, *, rejected: bool) -> tuple[str, ...]:
    """The events that make a step run for this order."""
    if not step.tracked:
        return ()
    return tuple(kind for kind in step.listens_to if rejected or kind != "order.rejected")


def _owes(order: Order, step: Step, event_type: str) -> bool:
    """Whether an order waits for a step that has not begun. It owes none that joined the table after its placement."""
    if event_type not in EVENT_TYPES:  # of another service, which may never send it
        return False
    if step.name in leaf_steps():
        return step.name in order.leaf_steps
    return step.name not in joined_steps() or event_type == "order.rejected" or step.name in order.open_joins


def envelope(event: OrderEvent, source: str) -> Event:
    """The CloudEvent of an order's event; its subject is the order's id. It belongs to the trace that it is made in."""
    return Event(
        id=new_event_id(),
        type=event.type,
        subject=str(event.order_id),
        source=source,
        time=datetime.now(UTC),
        data=event.data(),
        dataschema=event.schema_name(),
        traceparent=traceparent(),
    )


async def emit(tx: AsyncConnection, event: OrderEvent, source: str) -> None:
    """Record an order's event. The caller holds the order's row lock, so events keep the order of their commits."""
    await record(tx, [envelope(event, source)])
