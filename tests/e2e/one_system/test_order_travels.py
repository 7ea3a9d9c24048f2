"""The way of an order over the real system: from HTTP to a SAP document, an e-mail, a PDF, stock and books."""

import io
import signal
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psutil
from pypdf import PdfReader

from lab.stack.local import LocalStack
from tests.support.deadlines import ANSWER_SECONDS
from tests.support.processes.running_system import emails_to, order, place, query

Finished = Callable[[str], dict[str, Any]]
WAY = [
    "order.placed",
    "order.validated",
    "inventory.reserved",
    "order.synced",
    "order.fulfilled",
    "order.completed",
]
AUDITED = "SELECT type FROM audit_log WHERE order_id = $1::uuid ORDER BY occurred_at"


def documents_in_sap(stack: LocalStack, number: str) -> list[dict[str, Any]]:
    ledger = httpx.get(f"{stack.sap_url}/sandbox/ledger", timeout=ANSWER_SECONDS).json()
    return [document for document in ledger["documents"] if document["order_number"] == number]


def audited(stack: LocalStack, order_id: str, events: int) -> list[str]:
    """The types of an order's events, once so many are in the books: no part of an order's page waits for these."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while len(rows := query(stack, AUDITED, order_id)) < events:
        assert time.monotonic() < deadline, rows
        time.sleep(0.1)  # the poll's pace
    return [row["type"] for row in rows]


def test_an_order_has_every_effect_once_and_shows_them(stack: LocalStack, finished: Finished) -> None:
    stock_before = query(stack, "SELECT available FROM products WHERE sku = 'TEA-DARJ-S'")[0][0]
    reference = f"E2E-{uuid4().hex[:8]}"

    shown = finished(place(stack, order(reference)))

    total = "33.06"  # 2 x 6.90 less 5 % is 13.11, and 6.90, and 3 x 4.35
    assert shown["net_total"] == total
    assert shown["status"] == "completed"
    assert [step["attempt"] for step in shown["steps"]] == [1] * 7
    documents = documents_in_sap(stack, shown["number"])
    assert [(document["number"], document["net_amount"]) for document in documents] == [(shown["sap_document"], total)]
    emails = emails_to(stack, f"{reference.lower()}@example.com")
    assert len(emails) == 1
    text = emails[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert reference in text
    assert f"{total} EUR" in text
    pdf = httpx.get(f"{stack.api_url}/orders/{shown['order_id']}/invoice.pdf", timeout=ANSWER_SECONDS)
    printed = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf.content)).pages)
    for expected in (shown["invoice_number"], reference, total, "Żaneta O'Łoś"):
        assert expected in printed
    stock_after = query(stack, "SELECT available FROM products WHERE sku = 'TEA-DARJ-S'")[0][0]
    assert stock_before - stock_after == 3
    assert audited(stack, shown["order_id"], len(WAY)) == WAY


def test_a_rejected_order_takes_nothing_and_the_customer_reads_why(stack: LocalStack, finished: Finished) -> None:
    reference = f"E2E-{uuid4().hex[:8]}"

    shown = finished(place(stack, order(reference, sku="TEA-MOON", unit_price="1.00")))

    assert shown["status"] == "rejected"
    assert [reason["code"] for reason in shown["reject_reasons"]] == ["unknown_sku"]
    emails = emails_to(stack, f"{reference.lower()}@example.com")
    assert len(emails) == 1
    assert "TEA-MOON" in emails[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert documents_in_sap(stack, shown["number"]) == []
    assert query(stack, "SELECT 1 FROM reservations WHERE order_id = $1::uuid", shown["order_id"]) == []


def test_orders_complete_once_although_every_process_is_killed_on_the_way(
    stack: LocalStack, finished: Finished
) -> None:
    references = [f"KILL-{uuid4().hex[:8]}" for _ in range(30)]
    locations = []
    victims = ["relay", "worker-local", "worker-sap", "worker-email", "worker-invoice"]
    for position, reference in enumerate(references):
        locations.append(place(stack, order(reference)))
        if position % 6 == 5:
            kill(stack, victims[position // 6])

    orders = [finished(location) for location in locations]

    assert {order["status"] for order in orders} == {"completed"}
    for shown in orders:
        assert len(documents_in_sap(stack, shown["number"])) == 1
    invoices = query(stack, "SELECT sequence FROM invoices ORDER BY sequence")
    assert [row["sequence"] for row in invoices] == list(range(1, len(invoices) + 1))
    fulfilled = "SELECT order_id FROM audit_log WHERE type = 'order.fulfilled' GROUP BY order_id HAVING count(*) > 1"
    assert query(stack, fulfilled) == []


def kill(stack: LocalStack, program: str) -> None:
    """SIGKILL a program and its children, as an out-of-memory killer would; the process table starts it again."""
    pid = next(state.pid for state in stack.states() if state.name == program)
    if pid:
        process = psutil.Process(pid)
        for child in process.children(recursive=True):
            child.send_signal(signal.SIGKILL)
        process.send_signal(signal.SIGKILL)
