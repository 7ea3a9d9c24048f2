"""Gathers what landed, each effect from the place where it landed: SAP's ledger, the inbox, the PDFs, the tables."""

import asyncio
import email
import email.policy
import email.utils
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from lab.demo.facts import Email, Landed, StoredOrder
from lab.demo.pdf_text import pdf_text
from ops.doctor import broker_client
from orders.model import invoice_number
from orders.workflow import STEPS, UNROUTED_QUEUE

PDF_PROCESSES = 2
PDF_BATCH = 40

_ORDERS = text("""
SELECT o.id, o.number, o.reference, o.status, o.placed_at, o.completed_at, o.reject_reasons, i.series, i.sequence,
       (SELECT max(finished_at) FROM order_steps s
        WHERE s.order_id = o.id AND s.step = 'send_confirmation_email' AND s.event_type = 'order.rejected'
          AND s.state = 'done') AS told_at
FROM orders o LEFT JOIN invoices i ON i.order_id = o.id ORDER BY o.number
""")

_AVAILABLE = text("SELECT sku, available FROM products")

# Wrong either way: units that no completed order took, and units that one lacks.
_RESERVATIONS_WRONG = text("""
SELECT count(*) FROM
  (SELECT l.order_id, l.sku, sum(l.quantity) AS units
   FROM order_lines l JOIN orders o ON o.id = l.order_id WHERE o.status = 'completed' GROUP BY 1, 2) due
  FULL JOIN reservations r ON r.order_id = due.order_id AND r.sku = due.sku
WHERE due.units IS DISTINCT FROM r.quantity
""")

_SALES_WRONG = text("""
SELECT count(*) FROM
  (SELECT (o.placed_at AT TIME ZONE 'UTC')::date AS day, l.sku, o.country, o.currency,
          sum(l.quantity) AS units, sum(l.net) AS revenue
   FROM order_lines l JOIN orders o ON o.id = l.order_id WHERE o.status = 'completed' GROUP BY 1, 2, 3, 4) due
  FULL JOIN sales_by_day s ON (s.day, s.sku, s.country, s.currency) = (due.day, due.sku, due.country, due.currency)
WHERE (due.units, due.revenue) IS DISTINCT FROM (s.units, s.revenue)
""")

# No order has an event type twice, so a second row of one means that a step had its effect twice.
_AUDIT = text("""
SELECT (SELECT count(*) - count(DISTINCT (order_id, type)) FROM audit_log) AS extra,
       (SELECT count(DISTINCT event_id) FROM outbox.events e
        WHERE destination IS NULL AND NOT EXISTS (SELECT FROM audit_log a WHERE a.event_id = e.event_id)) AS missing
""")

_INVOICE_GAPS = text(
    "SELECT coalesce(sum(gaps), 0)::int FROM (SELECT max(sequence) - count(*) AS gaps FROM invoices "
    "GROUP BY series) AS of_series"
)

_DEAD_LETTERS = text("SELECT count(*) FROM outbox.dead_letters")


async def gather(
    engine: AsyncEngine,
    *,
    api_url: str,
    sap_url: str,
    amqp_url: str,
    inbox: Path,
    documents: Path,
    on_invoices: Callable[[int], None],
) -> Landed:
    """Everything that landed. `on_invoices` hears how many PDFs have been read, which takes the most time."""
    async with engine.connect() as connection:
        orders = await _orders(connection)
        tables = await _tables(connection)
        dead_letters = await _dead_letters(connection) + await asyncio.to_thread(dead_in_queues, amqp_url)
    ledger = await _ledger(sap_url)
    invoiced = [order.id for order in orders if order.invoice_number is not None]
    invoices = await _invoice_texts(api_url, invoiced, on_invoices)
    async with engine.connect() as connection:  # with those that the collector had in hand when the queues were counted
        dead_letters = max(dead_letters, await _dead_letters(connection))
    return Landed(
        orders=orders,
        sap_documents={number: held["documents"] for number, held in ledger["orders"].items()},
        sap_net_totals={number: Decimal(held["net_total"]) for number, held in ledger["orders"].items()},
        sap_faults=ledger["faults_injected"],
        emails=await asyncio.to_thread(read_inbox, inbox),
        invoices=invoices,
        invoice_files=await asyncio.to_thread(count_pdfs, documents),
        dead_letters=dead_letters,
        **tables,
    )


async def _orders(connection: AsyncConnection) -> list[StoredOrder]:
    return [
        StoredOrder(
            id=str(row.id),
            number=row.number,
            reference=row.reference,
            status=row.status,
            placed_at=row.placed_at,
            completed_at=row.completed_at,
            told_at=row.told_at,
            reasons=tuple((reason.get("sku"), reason["message"]) for reason in row.reject_reasons or ()),
            invoice_number=None if row.sequence is None else invoice_number(row.series, row.sequence),
        )
        for row in await connection.execute(_ORDERS)
    ]


async def _tables(connection: AsyncConnection) -> dict[str, Any]:
    audit = (await connection.execute(_AUDIT)).one()
    return {
        "available": {row.sku: row.available for row in await connection.execute(_AVAILABLE)},
        "reservations_wrong": (await connection.execute(_RESERVATIONS_WRONG)).scalar_one(),
        "sales_wrong": (await connection.execute(_SALES_WRONG)).scalar_one(),
        "invoice_gaps": (await connection.execute(_INVOICE_GAPS)).scalar_one(),
        "audit_extra": audit.extra,
        "audit_missing": audit.missing,
    }


async def _dead_letters(connection: AsyncConnection) -> int:
    return int((await connection.execute(_DEAD_LETTERS)).scalar_one())


async def _ledger(sap_url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=sap_url, timeout=30, trust_env=False) as client:
        response = await client.get("/sandbox/ledger")
        response.raise_for_status()
        ledger: dict[str, Any] = response.json()
        return ledger


def dead_in_queues(amqp_url: str) -> int:
    """Messages in all dead-letter queues and in the queue of what nobody listens to."""
    queues = [*(step.dead_letter_queue for step in STEPS), UNROUTED_QUEUE]
    with broker_client.connection(amqp_url) as link:
        return sum(state.messages for state in broker_client.queue_states(link, queues).values() if state is not None)


def read_inbox(folder: Path) -> list[Email]:
    """Every message of the inbox, oldest first."""
    return [parse_email(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]


def count_pdfs(folder: Path) -> int:
    """How many PDFs the document store holds."""
    return sum(1 for _ in folder.rglob("*.pdf"))


def parse_email(content: bytes) -> Email:
    """What a message says, and to whom."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    recipients = [str(value) for name in ("To", "Cc") for value in message.get_all(name, [])]
    plain = message.get_body(preferencelist=("plain",))
    words = f"{message.get('Subject', '')} {plain.get_content() if plain else ''}".split()
    return Email(tuple(address for _, address in email.utils.getaddresses(recipients)), " ".join(words))


async def _invoice_texts(api_url: str, order_ids: list[str], on_read: Callable[[int], None]) -> Mapping[str, str]:
    """The text of each order's invoice as the API hands it out; an order without a PDF has none."""
    texts: dict[str, str] = {}
    loop = asyncio.get_running_loop()
    # Fresh interpreters: a fork would copy this process's event loop and threads in whatever state they are.
    with ProcessPoolExecutor(PDF_PROCESSES, mp_context=get_context("spawn")) as pool:
        async with httpx.AsyncClient(base_url=api_url, timeout=30, trust_env=False) as client:
            for start in range(0, len(order_ids), PDF_BATCH):
                batch = order_ids[start : start + PDF_BATCH]
                responses = await asyncio.gather(*(client.get(f"/orders/{one}/invoice.pdf") for one in batch))
                found = {
                    one: response.content for one, response in zip(batch, responses, strict=True) if response.is_success
                }
                read = await asyncio.gather(*(loop.run_in_executor(pool, pdf_text, pdf) for pdf in found.values()))
                texts.update(zip(found, read, strict=True))
                on_read(len(texts))
    return texts
