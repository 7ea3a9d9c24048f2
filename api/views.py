"""Orders as clients read them. Money is a string of plain decimals, times are UTC."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orders.model import Order, Status, StepProgress, StepState
from outbox.letter_search import OpenLetter


def _plain(amount: object) -> object:
    """Decimal's own text of 0.00000001 is 1E-8, which is not what a client expects."""
    return format(amount, "f") if isinstance(amount, Decimal) else amount


MoneyText = Annotated[str, BeforeValidator(_plain), Field(examples=["14.00"])]


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class AcceptedView(_View):
    """An accepted order; all else follows by itself."""

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
    """Who ordered."""

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
    """Why the business said no."""

    code: str
    message: str
    sku: str | None


class StepView(_View):
    """How far one step of the order is. `attempt` counts from 1; 0: not begun."""

    step: str
    state: StepState
    attempt: int
    error: str | None
    next_try_at: datetime | None
    finished_at: datetime | None


class AttentionView(_View):
    """Why somebody must look at an order: a message about it was given up, and not yet sent again or discarded."""

    letter: int
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

    attention_needed: bool


class _OrderFacts(_OrderHead):
    customer: CustomerView
    lines: list[LineView]
    sap_document: str | None
    invoice_number: str | None
    reject_reasons: list[RejectReasonView]


class OrderView(_OrderFacts):
    """An order with all that has become of it."""

    steps: list[StepView]
    attention_needed: bool
    attention: list[AttentionView]


class OrderPage(_View):
    """Orders, newest first; `next` is the address of the next page, null on the last."""

    orders: list[OrderSummary]
    next: str | None


def order_view(order: Order, steps: list[StepProgress], letters: list[OpenLetter]) -> OrderView:
    """One order with its steps and the open letters about it."""
    return OrderView.model_construct(
        **dict(_OrderFacts.model_validate(order)),
        steps=[StepView.model_validate(step) for step in steps],
        attention_needed=bool(letters),
        attention=[AttentionView.model_validate(letter) for letter in letters],
    )


def order_page(orders: list[Order], need_attention: set[str], following: str | None) -> OrderPage:
    """One page of a list; `need_attention` are the ids of those about which there is an open letter."""
    rows = [
        OrderSummary.model_construct(
            **dict(_OrderHead.model_validate(order)), attention_needed=str(order.id) in need_attention
        )
        for order in orders
    ]
    return OrderPage.model_construct(orders=rows, next=following)
