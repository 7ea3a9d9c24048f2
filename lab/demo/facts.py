"""What was found where the effects of a demo landed; nothing in it is taken from the input. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as the database has it. `told_at` is when the e-mail about its rejection was sent."""

    id: str
    number: str
    reference: str
    status: str
    placed_at: datetime
    completed_at: datetime | None = None
    told_at: datetime | None = None
    reasons: tuple[tuple[str | None, str], ...] = ()  # (SKU, sentence)
    invoice_number: str | None = None


@dataclass(frozen=True, slots=True)
class Email:
    """A message of the inbox: whom it went to, and its subject and plain text with single blanks."""

    recipients: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Landed:
    """What was counted where the effects landed. Money is Decimal, `available` is units per SKU."""

    orders: Sequence[StoredOrder]
    sap_documents: Mapping[str, Sequence[str]]  # document numbers by order number
    sap_net_totals: Mapping[str, Decimal]  # by order number
    sap_faults: int
    emails: Sequence[Email]
    invoices: Mapping[str, str]  # text of the PDF by order id
    invoice_files: int
    invoice_gaps: int
    available: Mapping[str, int]
    reservations_wrong: int
    sales_wrong: int
    audit_extra: int
    audit_missing: int
    dead_letters: int
