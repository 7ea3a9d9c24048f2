"""The model of an order: customer, lines, money and rounding, statuses and their transitions. Pure.

Money is Decimal in the order's currency. A line's net is rounded half up to the cent, and an order's net is the sum of
its lines' nets: the figure on the page, in SAP, in the e-mail and on the invoice is the same one.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from uuid import UUID

CENT = Decimal("0.01")


class Status(StrEnum):
    """The status of an order. The CHECK in the schema lists the same words."""

    PENDING = "pending"
    VALIDATED = "validated"
    RESERVED = "reserved"
    SYNCED = "synced"
    FULFILLED = "fulfilled"
    COMPLETED = "completed"
    REJECTED = "rejected"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.VALIDATED, Status.REJECTED}),
    Status.VALIDATED: frozenset({Status.RESERVED, Status.REJECTED}),
    Status.RESERVED: frozenset({Status.SYNCED}),
    Status.SYNCED: frozenset({Status.FULFILLED}),
    Status.FULFILLED: frozenset({Status.COMPLETED}),
    Status.COMPLETED: frozenset(),
    Status.REJECTED: frozenset(),
}
FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)


class StepState(StrEnum):
    """How far one step of one order is. Absent in the store means pending."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `discount` is a fraction: 0.05 takes 5 % off. `name` is the catalogue's, once stored."""

    sku: str
    quantity: int
    unit_price: Decimal
    discount: Decimal = Decimal(0)
    name: str | None = None

    @property
    def label(self) -> str:
        """The line's name for people: the product's name with its SKU, or the SKU alone."""
        return f"{self.name} ({self.sku})" if self.name else self.sku

    @property
    def net(self) -> Decimal:
        """unit_price x quantity x (1 - discount), rounded half up to the cent."""
        exact = self.unit_price * self.quantity * (1 - self.discount)
        return exact.quantize(CENT, rounding=ROUND_HALF_UP)

    @property
    def gross(self) -> Decimal:
        """unit_price x quantity before discount, rounded half up to the cent."""
        return (self.unit_price * self.quantity).quantize(CENT, rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address; half the world has no region, some places no postal code."""

    street: str
    city: str
    country: str
    postal_code: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer: the addressee of the e-mail and of the invoice."""

    name: str
    email: str
    address: Address

    @property
    def private(self) -> tuple[str, ...]:
        """The values that no log line may show: name, e-mail address and street."""
        return self.name, self.email, self.address.street


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order as a client sends it. `reference` is the client's own name for it, unique over all orders."""

    reference: str
    customer: Customer
    currency: str
    lines: tuple[Line, ...]

    @property
    def net_total(self) -> Decimal:
        """The sum of the lines' nets."""
        return sum((line.net for line in self.lines), Decimal("0.00"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(NewOrder):
    """An accepted order, as stored.

    `open_joins` are the joined steps that it still owes, `leaf_steps` the leaf steps that it owes or has had. Both sets
    are of the table of steps that it was placed with.
    """

    id: UUID
    number: str
    status: Status
    placed_at: datetime
    completed_at: datetime | None = None
    sap_document: str | None = None
    invoice_number: str | None = None
    reject_reasons: tuple["RejectReason", ...] = ()
    open_joins: frozenset[str] = frozenset()
    leaf_steps: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StepProgress:
    """One step of one order as its page shows it. `attempt` counts from 1."""

    step: str
    state: StepState
    attempt: int
    error: str | None = None
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None


class AttemptEnd(StrEnum):
    """How an attempt at a step ended. It has no end while it runs, and never gets one if its worker dies."""

    DONE = "done"
    RETRIED = "retried"
    AWAY = "away"  # the other side did not answer: it counts as no attempt
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt as its worker records it.

    `generation` is the delivery's. `claim` is the number of the claim within it, 0 for an attempt without a claim.
    The attempt has run for `seconds`.
    """

    generation: int
    claim: int
    worker: str
    seconds: float
    end: AttemptEnd | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a step, as stored. `attempt` is the number that people count, from 1.

    Times are Postgres's. Several claims of one generation are attempts of their own, distinguished by `claim`.
    """

    step: str
    event_type: str
    generation: int
    claim: int
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime | None = None
    end: AttemptEnd | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AuditedEvent:
    """An event of an order as the audit log keeps it, also when the outbox has dropped it."""

    event_id: UUID
    type: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RejectReason:
    """A reason for a rejection. `message` is a sentence that the customer reads in the e-mail."""

    code: str
    message: str
    sku: str | None = None


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice of the gapless series. `document` is its key in the document store once the PDF is stored."""

    number: str
    order_id: UUID
    issued_at: datetime
    document: str | None = None


def invoice_number(series: str, sequence: int) -> str:
    """An invoice's number within its series, such as `2026-000042`."""
    return f"{series}-{sequence:06d}"


def units_by_sku(lines: tuple[Line, ...]) -> dict[str, int]:
    """Units per SKU in SKU order: two lines of one SKU are one demand on stock, and one order locks as another does."""
    units: dict[str, int] = {}
    for line in sorted(lines, key=lambda line: line.sku):
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    return units
