from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lab.demo.count import checks, count, mentions
from lab.demo.facts import Landed, StoredOrder
from lab.demo.figures import Timings, figures, timings
from lab.effects import Email, SapLedger
from lab.workload.expectations import Workload
from lab.workload.generator import generate
from ops.audit.report import AuditReport
from orders.audit.reconciliation import SalesDifference, StockDifference
from orders.audit.rules import DuplicateEffect, Effect, MissingEffect, OrphanEffect
from tests.support.builders.audit_reports import clean_report

WORKLOAD = generate(60)
PLACED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stored(workload: Workload) -> list[StoredOrder]:
    orders = []
    for position, one in enumerate(workload.orders, start=1):
        order = StoredOrder(f"id-{position}", f"WB-{position:08d}", one.order.reference, "completed", PLACED)
        done = PLACED + timedelta(seconds=position)
        if one.refused_for is None:
            orders.append(replace(order, completed_at=done, invoice_number=f"2026-{position:06d}"))
        else:
            reasons = ((one.refused_for, f"We have no {one.refused_for} like that."),)
            orders.append(replace(order, status="rejected", completed_at=done, notified_at=done, reasons=reasons))
    return orders


def audit_of(orders: Sequence[StoredOrder]) -> AuditReport:
    """The completeness audit of orders that are all as they should be."""
    return clean_report(PLACED, Counter(order.status for order in orders))


def all_well(workload: Workload = WORKLOAD) -> Landed:
    """What must have landed when everything went as it should."""
    orders = stored(workload)
    pairs = list(zip(workload.orders, orders, strict=True))
    done = [(one.order, order) for one, order in pairs if one.refused_for is None]
    emails = [
        Email(
            (one.order.customer.email,),
            f"Your reference: {order.reference} "
            + " ".join(sentence for _, sentence in order.reasons)
            + f" Net total: {one.order.net_total} EUR",
        )
        for one, order in pairs
    ]
    return Landed(
        audit=audit_of(orders),
        orders=orders,
        sap=SapLedger(
            documents={order.number: [f"10{order.number}"] for _, order in done},
            net_totals={order.number: due.net_total for due, order in done},
            faults_injected=3,
        ),
        emails=emails,
        invoices={
            order.id: f"Invoice {order.invoice_number} {order.reference} {due.net_total} EUR" for due, order in done
        },
        invoice_files=len(done),
        available=dict(workload.stock_at_end),
        dead_letters=0,
    )


def wrong(landed: Landed) -> set[str]:
    return {check.name for check in checks(WORKLOAD, count(WORKLOAD, landed)) if not check.correct}


def changed(values: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The mapping with its first value changed."""
    first = next(iter(values))
    return {**values, first: change(values[first])}


WELL = all_well()
AUDIT = "everything complete, each sum agrees"
SALES_WRONG = SalesDifference(PLACED.date(), "SKU", "DE", "EUR", 1, Decimal(1), 2, Decimal(2))
COMPLETED, REJECTED = WELL.orders[0], next(order for order in WELL.orders if order.status == "rejected")


def audited(**changes: Any) -> dict[str, Any]:
    """A change of the landed facts that is one of the audit's report."""
    return {"audit": replace(WELL.audit, **changes)}


def booked(**changes: Any) -> dict[str, Any]:
    """A change of the landed facts that is one of SAP's ledger."""
    return {"sap": replace(WELL.sap, **changes)}


def test_a_demo_that_went_well_has_no_wrong_figure() -> None:
    assert wrong(all_well()) == set()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            booked(documents=changed(WELL.sap.documents, lambda numbers: [*numbers, "1"])),
            {"sales documents"},
        ),
        (
            booked(net_totals=changed(WELL.sap.net_totals, lambda net: net + Decimal("0.01"))),
            {"net total, EUR", "orders with another amount in SAP"},
        ),
        ({"emails": WELL.emails[1:]}, {"e-mails with the right content"}),
        (
            {"emails": [replace(email, recipients=("other@example.com",)) for email in WELL.emails]},
            {"e-mails with the right content"},
        ),
        (
            {"emails": [replace(one, text=one.text.replace("We have no", "There is no")) for one in WELL.emails]},
            {"e-mails with the right content"},
        ),
        (
            {"invoices": changed(WELL.invoices, lambda text: f"{text}0".replace(".", ","))},
            {"invoices with the right content"},
        ),
        ({"invoices": changed(WELL.invoices, lambda _: "")}, {"invoices with the right content"}),
        ({"invoice_files": WELL.invoice_files + 1}, {"duplicates: invoices"}),
        (audited(invoice_gaps=1), {"gaps in the invoice numbers", AUDIT}),
        (
            {"available": changed(WELL.available, lambda left: left - 1)},
            {"units moved", "stock of every product as due"},
        ),
        ({"dead_letters": 1}, {"dead letters"}),
        (audited(resent=1), {"duplicates: e-mails"}),
        (audited(doubled=[DuplicateEffect("WB-1", Effect.EMAIL, "")]), {"duplicates: e-mails", AUDIT}),
        (audited(orphans=[OrphanEffect(Effect.EMAIL, "")]), {"duplicates: e-mails of no order", AUDIT}),
        (audited(doubled=[DuplicateEffect("WB-1", Effect.SAP, "")]), {"duplicates: SAP documents", AUDIT}),
        (audited(orphans=[OrphanEffect(Effect.SAP, "")]), {"duplicates: SAP documents", AUDIT}),
        (audited(orphans=[OrphanEffect(Effect.INVOICE, "")]), {"duplicates: invoices", AUDIT}),
        (audited(doubled=[DuplicateEffect("WB-1", Effect.STOCK, "")]), {"duplicates: reservations", AUDIT}),
        (audited(sales_wrong=[SALES_WRONG]), {"duplicates: sales figures", AUDIT}),
        (audited(audit_extra=1), {"duplicates: audit rows", AUDIT}),
        (audited(audit_missing=1, audit_overdue=1), {"events missing from the audit log", AUDIT}),
        (audited(missing=[MissingEffect("WB-1", Effect.STOCK, "", overdue=True)]), {"effects missing", AUDIT}),
        (audited(stock_wrong=[StockDifference("SKU", 3, 2, 0)]), {AUDIT}),
        (audited(not_seen={"sap": "no answer"}), {AUDIT}),
    ],
)
def test_one_thing_wrong_is_found_and_named(changes: dict[str, Any], found: set[str]) -> None:
    assert wrong(replace(WELL, **changes)) == found


def test_an_order_rejected_for_another_sku_than_the_one_at_fault_is_found() -> None:
    other = replace(REJECTED, reasons=(("OTHER", "We have no OTHER like that."),))
    landed = replace(WELL, orders=[other if order is REJECTED else order for order in WELL.orders])
    assert wrong(landed) == {"orders with another outcome than due", "e-mails with the right content"}


def test_an_order_that_hangs_is_counted_as_neither_completed_nor_rejected() -> None:
    hanging = replace(COMPLETED, status="reserved", completed_at=None)
    orders = [hanging if order is COMPLETED else order for order in WELL.orders]
    landed = replace(WELL, orders=orders, audit=audit_of(orders))
    assert wrong(landed) == {"orders completed", "orders with another outcome than due"}


def test_the_last_line_has_the_agreed_keys_in_their_order() -> None:
    line = figures(count(WORKLOAD, WELL), timings(WELL.orders, [5.0, 7.04]))
    assert " ".join(line) == (
        "orders completed rejected net_total sap_documents sap_net_total emails invoices units_moved stock_matches "
        "dead_letters sap_faults_injected duplicate_effects accept_ms_p50 accept_ms_p99 order_ms_p50 seconds"
    )
    assert line["net_total"] == line["sap_net_total"] == f"{WORKLOAD.net_total:.2f}"
    assert (line["accept_ms_p50"], line["accept_ms_p99"], line["seconds"]) == (5.0, 7.0, 60.0)


def test_a_run_in_which_nothing_finished_has_no_times() -> None:
    pending = [replace(COMPLETED, status="pending", completed_at=None)]
    assert timings(pending, []) == Timings([], [], 0.0)


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("reference NW-10248.", "NW-10248", True),
        ("reference NW-102480", "NW-10248", False),
        ("reference XNW-10248", "NW-10248", False),
        ("total 1234.50 USD", "1234.50", True),
        ("total 1234.50 USD", "234.50", False),
        ("total 1234.505", "1234.50", False),
        ("total 12.34.50", "34.50", False),
    ],
)
def test_a_word_is_found_on_its_own_only(text: str, word: str, found: bool) -> None:
    assert mentions(text, word) is found
