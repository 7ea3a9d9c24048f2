"""The facts of a proof: what was found where the effects landed. Nothing in them is taken from the input. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class OrderFound:
    """A row of orders."""

    id: str
    number: str
    reference: str
    status: str


@dataclass(frozen=True, slots=True)
class EventFound:
    """A recorded event that went to the exchange."""

    id: str
    type: str
    subject: str


@dataclass(frozen=True, slots=True)
class DocumentFound:
    """A sales document in SAP's ledger."""

    number: str
    order_number: str
    order_id: str
    net_amount: Decimal


@dataclass(frozen=True, slots=True)
class EmailFound:
    """A message in the mail server's folder; `kept_at` by this machine's clock."""

    file: str
    message_id: str
    recipients: tuple[str, ...]
    kept_at: float


@dataclass(frozen=True, slots=True)
class InvoiceFound:
    """A row of invoices; `document` is the PDF's key."""

    series: str
    sequence: int
    order_id: str
    document: str | None


@dataclass(frozen=True, slots=True)
class AuditFound:
    """A row of the audit log."""

    event_id: str
    order_id: str
    type: str


@dataclass(frozen=True, slots=True)
class GarbageFound:
    """Messages of garbage with one mark: how many were put into queues, and how many are dead letters."""

    mark: str
    pieces: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The kill of a process that may alone have known of accepted e-mails, and of how many at most.

    `at` is by this machine's clock, just before the signal.
    """

    at: float
    emails: int


@dataclass(frozen=True)
class Facts:
    """All that was found. `events` are in order of their ids, `arrived` holds first copies in order of arrival."""

    accepted: Mapping[str, str]  # order id by reference: what HTTP answered
    orders: Sequence[OrderFound]
    events: Sequence[EventFound]
    arrived: Sequence[str]  # event ids
    deliveries: Mapping[tuple[str, str], str]  # state by (consumer, event id)
    documents: Sequence[DocumentFound]
    emails: Sequence[EmailFound]
    invoices: Sequence[InvoiceFound]
    pdfs: frozenset[str]  # keys of files that are whole PDFs
    available: Mapping[str, int]  # units by SKU
    reservations: Mapping[tuple[str, str], int]  # units by (order id, SKU)
    sales: Mapping[tuple[str, str], tuple[int, Decimal]]  # units and revenue by (SKU, country)
    audit: Sequence[AuditFound]
    scheduled: int = 0
    open_dead_letters: int = 0
    garbage: Sequence[GarbageFound] = ()
    kills: Sequence[Kill] = field(default_factory=tuple)
