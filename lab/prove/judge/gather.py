"""Gathers what landed, each effect in its place: tables, SAP's ledger, the mail folder, the PDFs.

Shares no query with the completeness audit, so that `audit_cross_check` compares two independent counts.
"""

import asyncio
import email.utils
from collections.abc import Iterator, Mapping
from decimal import Decimal
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from lab.prove.faults.injector import Injected
from lab.prove.judge.facts import (
    AuditFound,
    DocumentFound,
    EmailFound,
    EventFound,
    Facts,
    GarbageFound,
    InvoiceFound,
    Kill,
    OrderFound,
)
from lab.prove.system_under_test import SystemUnderTest
from lab.stack.local import LocalStack
from orders.workflow import POOLS

SMALLEST_PDF = 1_000  # bytes; an invoice takes some twenty thousand

_ORDERS = "SELECT id::text, number, reference, status FROM orders ORDER BY number"
_EVENTS = "SELECT event_id::text, type, subject FROM outbox.events WHERE destination IS NULL ORDER BY id"
_DELIVERIES = "SELECT consumer, event_id::text, state FROM outbox.deliveries"
_INVOICES = "SELECT series, sequence, order_id::text, document FROM invoices ORDER BY series, sequence"
_AVAILABLE = "SELECT sku, available FROM products"
_RESERVATIONS = "SELECT order_id::text, sku, quantity FROM reservations"
_SALES = "SELECT sku, country, sum(units)::int, sum(revenue) FROM sales_by_day GROUP BY sku, country"
_AUDIT = "SELECT event_id::text, order_id::text, type FROM audit_log"
_LEFT = """
SELECT (SELECT count(*)::int FROM outbox.scheduled) AS scheduled,
       (SELECT count(*)::int FROM outbox.dead_letters WHERE state = 'open') AS open_dead_letters"""

# The processes that these kill may alone have known of accepted e-mails. A child sends one at a time.
SENDERS = POOLS["email"].concurrency
KILLS_OF_MAILERS = {"kill_worker_main email": SENDERS, "kill_worker_child email": 1, "kill_smtp": SENDERS}


async def gather(system: SystemUnderTest, accepted: Mapping[str, str], injected: list[Injected]) -> Facts:
    """Everything that landed."""
    ledger = await system.get(f"{system.stack.sap_url}/sandbox/ledger")
    return Facts(
        accepted=accepted,
        arrived=list(system.arrived),
        documents=[_document(row) for row in ledger["documents"]],
        emails=await asyncio.to_thread(_emails, system.stack.inbox_dir),
        pdfs=await asyncio.to_thread(_pdfs, system.stack.documents_dir),
        garbage=[
            GarbageFound(mark, pieces, await system.dead_letters(mark)) for mark, pieces in system.garbage.items()
        ],
        kills=[
            Kill(one.started, KILLS_OF_MAILERS[one.planned.name])
            for one in injected
            if one.planned.name in KILLS_OF_MAILERS
        ],
        **await _tables(system.stack),
    )


async def _tables(stack: LocalStack) -> dict[str, Any]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            left = await connection.fetchrow(_LEFT)
            assert left is not None, "it has no FROM"
            return {
                "orders": [OrderFound(*row) for row in await connection.fetch(_ORDERS)],
                "events": [EventFound(*row) for row in await connection.fetch(_EVENTS)],
                "deliveries": {(row[0], row[1]): row[2] for row in await connection.fetch(_DELIVERIES)},
                "invoices": [InvoiceFound(*row) for row in await connection.fetch(_INVOICES)],
                "available": {row[0]: row[1] for row in await connection.fetch(_AVAILABLE)},
                "reservations": {(row[0], row[1]): row[2] for row in await connection.fetch(_RESERVATIONS)},
                "sales": {(row[0], row[1]): (row[2], row[3]) for row in await connection.fetch(_SALES)},
                "audit": [AuditFound(*row) for row in await connection.fetch(_AUDIT)],
                **left,
            }
    finally:
        await connection.close()


def _document(row: Mapping[str, str]) -> DocumentFound:
    order_id = str(UUID(row["order_id"]))  # in SAP without hyphens
    return DocumentFound(row["number"], row["order_number"], order_id, Decimal(row["net_amount"]))


def _emails(folder: Path) -> list[EmailFound]:
    return [_email(path) for path in sorted(folder.glob("*.eml"))]


def _email(path: Path) -> EmailFound:
    headers = BytesHeaderParser(policy=policy.SMTPUTF8).parsebytes(path.read_bytes())
    recipients = email.utils.getaddresses([str(value) for value in headers.get_all("To", [])])
    addresses = tuple(address for _, address in recipients)
    return EmailFound(path.name, str(headers.get("Message-ID", "")).strip(), addresses, path.stat().st_mtime)


def _pdfs(folder: Path) -> frozenset[str]:
    """The keys of all files that are whole PDFs."""
    return frozenset(_whole_pdfs(folder))


def _whole_pdfs(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.pdf"):
        content = path.read_bytes()
        if content.startswith(b"%PDF") and b"%%EOF" in content[-64:] and len(content) >= SMALLEST_PDF:
            yield str(path.relative_to(folder))
