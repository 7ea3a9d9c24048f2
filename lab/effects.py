"""The effects of a local system, gathered where they landed: SAP's ledger, the mail inbox, the PDFs, the tables.

Shared by `lab demo`, `soak` and `observe`. The verdict on completeness is `ops.audit`'s, the same that an operator gets
from `waybill orders audit`; this module gives it the places of a local system and reads what no audit needs: contents,
amounts, and how often SAP failed on purpose. `lab prove` gathers by itself, and uses only `audit_effects`, as a
cross-check of its own count.
"""

import asyncio
import email
import email.policy
import email.utils
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from lab.stack.local import LocalStack
from lab.workload.expectations import Workload
from ops.audit.probes import SapSandbox
from ops.audit.report import AuditReport, Probes, audit
from ops.doctor import broker_client
from orders.audit.queries import Window
from orders.workflow import STEPS, UNROUTED_QUEUE
from runtime.document_store import document_store
from runtime.settings import Settings

HTTP_SECONDS = 30.0
# Between the clock of this process, which begins the window, and Postgres's, which dates the orders.
CLOCK_MARGIN = timedelta(minutes=1)

_DEAD_LETTERS = text("SELECT count(*) FROM outbox.dead_letters")


@dataclass(frozen=True, slots=True)
class SapLedger:
    """The SAP sandbox's ledger. Orders that were posted without success are in it, with no document and no amount."""

    documents: Mapping[str, Sequence[str]]  # document numbers by order number
    net_totals: Mapping[str, Decimal]  # by order number
    faults_injected: int

    @property
    def document_count(self) -> int:
        """Documents of all orders."""
        return sum(len(numbers) for numbers in self.documents.values())


@dataclass(frozen=True, slots=True)
class Email:
    """A message of the inbox: its recipients, and its subject and plain text with single blanks."""

    recipients: tuple[str, ...]
    text: str


async def audit_effects(engine: AsyncEngine, stack: LocalStack, workload: Workload, since: datetime) -> AuditReport:
    """The completeness audit of all orders placed since a moment; a missing effect is overdue at once."""
    stock = {product.sku: product.stock for product in workload.products}
    settings = Settings(database_url=stack.database_url, amqp_url=stack.amqp_url, documents_dir=stack.documents_dir)
    places = Probes(SapSandbox(stack.sap_url), stack.mail_url, document_store(settings), stock)
    window = Window(since - CLOCK_MARGIN, datetime.now(UTC) + CLOCK_MARGIN)
    return await audit(engine, places, window, timedelta(0))


async def read_sap_ledger(sap_url: str) -> SapLedger:
    """What the SAP sandbox has booked. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(base_url=sap_url, timeout=HTTP_SECONDS, trust_env=False) as client:
        ledger = (await client.get("/sandbox/ledger")).raise_for_status().json()
    orders = ledger["orders"]
    return SapLedger(
        documents={number: held["documents"] for number, held in orders.items()},
        net_totals={number: Decimal(held["net_total"]) for number, held in orders.items()},
        faults_injected=int(ledger["faults_injected"]),
    )


def read_inbox(folder: Path) -> list[Email]:
    """Every message of the mail sandbox's inbox, oldest first."""
    return [parse_email(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]


def parse_email(content: bytes) -> Email:
    """The recipients and the text of one message."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    recipients = [str(value) for name in ("To", "Cc") for value in message.get_all(name, [])]
    plain = message.get_body(preferencelist=("plain",))
    words = f"{message.get('Subject', '')} {plain.get_content() if plain else ''}".split()
    return Email(tuple(address for _, address in email.utils.getaddresses(recipients)), " ".join(words))


def count_pdfs(folder: Path) -> int:
    """How many PDFs the document store holds."""
    return sum(1 for file in folder.rglob("*.pdf") if file.is_file())


async def count_dead_letters(engine: AsyncEngine, amqp_url: str) -> int:
    """Dead letters in the table, in any state, and messages in the queues that the collector empties.

    A message that the collector holds at the moment is in neither: count again some seconds later.
    """
    async with engine.connect() as connection:
        stored = int((await connection.execute(_DEAD_LETTERS)).scalar_one())
    return stored + await asyncio.to_thread(_queued_dead_letters, amqp_url)


def _queued_dead_letters(amqp_url: str) -> int:
    """Messages in all dead-letter queues and in the queue of events without a listener."""
    queues = [*(step.dead_letter_queue for step in STEPS), UNROUTED_QUEUE]
    with broker_client.connection(amqp_url) as link:
        return sum(state.messages for state in broker_client.queue_states(link, queues).values() if state is not None)
