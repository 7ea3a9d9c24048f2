"""The views of orders that clients read. Money is a string of plain decimals, times are UTC."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orders.model import Order, Status, StepProgress, StepState
from orders.tracking.timeline import AttemptOutcome, EntryKind, Timeline
from outbox.dead_letters.still_open import OpenDeadLetter


def _plain(amount: object) -> object:
    """Plain decimals: Decimal's own text of 0.00000001 is 1E-8, which clients do not expect."""
    return format(amount, "f") if isinstance(amount, Decimal) else amount


MoneyText = Annotated[str, BeforeValidator(_plain), Field(examples=["14.00"])]


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class AcceptedView(_View):
    """An accepted order; its steps follow by themselves."""

    order_id: UUID
    status: Annotated[str, Field(examples=["pending"])]


class AddressView(_View):
    """A postal address."""

    street: str
    city: str
    country: str
    postal_code: str | None
    region: str | None


class CustomerView(_View):
    """The customer."""

    name: str
    email: str
    address: AddressView


class LineView(_View):
    """One line with its net, rounded half up to the cent."""

    sku: str
    quantity: int
    unit_price: MoneyText
    discount: MoneyText
    net: MoneyText


class RejectReasonView(_View):
    """A reason for the rejection."""

    code: str
    message: str
    sku: str | None


class StepView(_View):
    """How far one step of the order is. `attempt` counts from 1; 0: not begun."""

    step: str
    state: StepState
    attempt: int
    error: str | None
    next_attempt_at: datetime | None
    finished_at: datetime | None


class OpenDeadLetterView(_View):
    """Why an order needs attention: a message about it was dead-lettered, and not yet replayed or discarded."""

    dead_letter: int
    queue: str
    reason: str
    error: str | None
    since: datetime


class _OrderHead(_View):
    order_id: Annotated[UUID, Field(validation_alias="id")]
    number: str
    reference: str
    status: Status
    currency: str
    net_total: MoneyText
    placed_at: datetime
    completed_at: datetime | None


class OrderSummary(_OrderHead):
    """An order in a list."""

    needs_attention: bool


class _OrderFacts(_OrderHead):
    customer: CustomerView
    lines: list[LineView]
    sap_document: str | None
    invoice_number: str | None
    reject_reasons: list[RejectReasonView]


class OrderView(_OrderFacts):
    """An order with its steps and its open dead letters."""

    steps: list[StepView]
    needs_attention: bool
    open_dead_letters: list[OpenDeadLetterView]


class OrderPage(_View):
    """Orders, newest first; `next` is the address of the next page, null on the last."""

    orders: list[OrderSummary]
    next: str | None


class EntryView(_View):
    """One thing that happened to the order; a field that does not apply is null.

    Times are the database's, but for `accepted` (the API's clock), `published` and `confirmed` (the relay's), and an
    event that is past retention, which was `committed` by its writer's clock, between its cause and its
    consequence.
    """

    at: datetime
    what: Annotated[
        EntryKind, Field(description="an `attempt` is at a step; `done` is a step whose attempts are not known")
    ]
    gap_ms: Annotated[float | None, Field(description="since the entry before")]
    event: Annotated[str | None, Field(description="the event's type; of an attempt, what the step reacted to")]
    queue: Annotated[str | None, Field(description="the one queue that a message is for, or where a dead letter died")]
    step: str | None
    generation: Annotated[
        int | None,
        Field(
            description="the delivery's generation: every retry, outage and replay raises it; null for a first message",
        ),
    ]
    attempt: Annotated[
        int | None, Field(description="which attempt at the step, from 1; outages do not count, a replay begins anew")
    ]
    outcome: Annotated[
        AttemptOutcome | None,
        Field(
            description="of an attempt; `away`: the other side did not answer, which counts as none; "
            "`lost`: its worker died"
        ),
    ]
    ended_at: datetime | None
    duration_ms: float | None
    worker: Annotated[str | None, Field(examples=["worker-sap@host/4711"])]
    error: str | None
    dead_letter: Annotated[int | None, Field(description="the dead letter's number")]
    actor: str | None
    why: Annotated[str | None, Field(description="why it was dead-lettered, rejected, replayed, discarded or restored")]
    due_at: Annotated[datetime | None, Field(description="when a replay is sent; null: at once")]


class PendingStepView(_View):
    """A step that is next for the order, and what blocks it."""

    step: str
    queue: str
    event: Annotated[str, Field(description="what the step reacts to")]
    blocked_by: Annotated[str, Field(examples=["waiting in sap, attempt 3, next attempt 12:04:10, last error …"])]


class TimelineView(_View):
    """The order's timeline, oldest first. `remarks` say which facts are lost.

    `waits_for` has the steps that are next, and events that the audit dead-lettered, also of a completed order. It is
    empty when nothing is left to do.
    """

    order_id: UUID
    number: str
    status: Status
    entries: list[EntryView]
    waits_for: list[PendingStepView]
    remarks: list[str]


def timeline_view(order: Order, timeline: Timeline) -> TimelineView:
    """The view of one order's timeline."""
    return TimelineView.model_construct(
        order_id=order.id,
        number=order.number,
        status=order.status,
        entries=[EntryView.model_validate(entry) for entry in timeline.entries],
        waits_for=[
            PendingStepView(step=one.step.name, queue=one.step.queue, event=one.event_type, blocked_by=one.text)
            for one in timeline.waits_for
        ],
        remarks=list(timeline.remarks),
    )


def order_view(order: Order, steps: list[StepProgress], dead_letters: list[OpenDeadLetter]) -> OrderView:
    """One order with its steps and the open dead letters about it."""
    return OrderView.model_construct(
        **dict(_OrderFacts.model_validate(order)),
        steps=[StepView.model_validate(step) for step in steps],
        needs_attention=bool(dead_letters),
        open_dead_letters=[OpenDeadLetterView.model_validate(dead_letter) for dead_letter in dead_letters],
    )


def order_page(orders: list[Order], needing_attention: set[str], following: str | None) -> OrderPage:
    """One page of a list; `needing_attention` holds the ids of the orders with an open dead letter."""
    rows = [
        OrderSummary.model_construct(
            **dict(_OrderHead.model_validate(order)), needs_attention=str(order.id) in needing_attention
        )
        for order in orders
    ]
    return OrderPage.model_construct(orders=rows, next=following)
