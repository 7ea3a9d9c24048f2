"""The facts of a demo: what was found where the effects landed. Nothing in them is taken from the input. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lab.effects import Email, SapLedger
from ops.audit.report import AuditReport


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as the database has it. `notified_at` is when the e-mail about its rejection was sent."""

    id: str
    number: str
    reference: str
    status: str
    placed_at: datetime
    completed_at: datetime | None = None
    notified_at: datetime | None = None
    reasons: tuple[tuple[str | None, str], ...] = ()  # (SKU, sentence)
    invoice_number: str | None = None


@dataclass(frozen=True)
class Landed:
    """All that landed. `audit` is the completeness audit's report; `available` is in units per SKU."""

    audit: AuditReport
    orders: Sequence[StoredOrder]
    sap: SapLedger
    emails: Sequence[Email]
    invoices: Mapping[str, str]  # text of the PDF by order id
    invoice_files: int
    available: Mapping[str, int]
    dead_letters: int
