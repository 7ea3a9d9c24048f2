from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lab.demo.count import checks, count, mentions
from lab.demo.facts import Email, Landed, StoredOrder
from lab.demo.figures import Timings, figures, percentile, timings
from lab.workload.expectations import DemoSet
from lab.workload.generator import generate

DEMO = generate(60)
PLACED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stored(demo: DemoSet) -> list[StoredOrder]:
    orders = []
    for position, one in enumerate(demo.orders, start=1):
        order = StoredOrder(f"id-{position}", f"WB-{position:08d}", one.order.reference, "completed", PLACED)
        done = PLACED + timedelta(seconds=position)
        if one.refused_for is None:
            orders.append(replace(order, completed_at=done, invoice_number=f"2026-{position:06d}"))
        else:
            reasons = ((one.refused_for, f"We have no {one.refused_for} like that."),)
            orders.append(replace(order, status="rejected", completed_at=done, told_at=done, reasons=reasons))
    return orders


def all_well(demo: DemoSet = DEMO) -> Landed:
    """What must have landed when everything went as it should."""
    orders = stored(demo)
    pairs = list(zip(demo.orders, orders, strict=True))
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
        orders=orders,
        sap_documents={order.number: [f"10{order.number}"] for _, order in done},
        sap_net_totals={order.number: due.net_total for due, order in done},
        sap_faults=3,
        emails=emails,
        invoices={
            order.id: f"Invoice {order.invoice_number} {order.reference} {due.net_total} EUR" for due, order in done
        },
        invoice_files=len(done),
        invoice_gaps=0,
        available=dict(demo.stock_at_end),
        reservations_wrong=0,
        sales_wrong=0,
        audit_extra=0,
        audit_missing=0,
        dead_letters=0,
    )


def wrong(landed: Landed) -> set[str]:
    return {check.what for check in checks(DEMO, count(DEMO, landed)) if not check.right}


def changed(values: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The mapping with its first value changed."""
    first = next(iter(values))
    return {**values, first: change(values[first])}


def test_a_demo_that_went_well_has_no_wrong_figure() -> None:
    assert wrong(all_well()) == set()


WELL = all_well()
COMPLETED, REJECTED = WELL.orders[0], next(order for order in WELL.orders if order.status == "rejected")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"sap_documents": changed(WELL.sap_documents, lambda numbers: [*numbers, "1"])},
            {"sales documents", "duplicates: SAP documents"},
        ),
        (
            {"sap_net_totals": changed(WELL.sap_net_totals, lambda net: net + Decimal("0.01"))},
            {"net total, EUR", "orders with another amount in SAP"},
        ),
        ({"emails": WELL.emails[1:]}, {"e-mails with the right content"}),
        ({"emails": [*WELL.emails, WELL.emails[0]]}, {"duplicates: e-mails"}),
        ({"emails": [*WELL.emails, Email((), "Hello")]}, {"duplicates: e-mails of no order"}),
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
        ({"invoice_gaps": 1}, {"gaps in the invoice numbers"}),
        (
            {"available": changed(WELL.available, lambda left: left - 1)},
            {"units moved", "stock of every product as due"},
        ),
        ({"reservations_wrong": 1}, {"duplicates: reservations"}),
        ({"sales_wrong": 1}, {"duplicates: sales figures"}),
        ({"audit_extra": 1}, {"duplicates: audit rows"}),
        ({"audit_missing": 1}, {"events missing from the audit log"}),
        ({"dead_letters": 1}, {"dead letters"}),
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
    landed = replace(WELL, orders=[hanging if order is COMPLETED else order for order in WELL.orders])
    assert wrong(landed) == {"orders completed", "orders with another outcome than due"}


def test_the_last_line_has_the_agreed_keys_in_their_order() -> None:
    line = figures(count(DEMO, WELL), timings(WELL.orders, [5.0, 7.04]))
    assert " ".join(line) == (
        "orders completed rejected net_total sap_documents sap_net_total emails invoices units_moved stock_matches "
        "dead_letters sap_faults_injected duplicate_effects accept_ms_p50 accept_ms_p99 order_ms_p50 seconds"
    )
    assert line["net_total"] == line["sap_net_total"] == f"{DEMO.net_total:.2f}"
    assert (line["accept_ms_p50"], line["accept_ms_p99"], line["seconds"]) == (5.0, 7.0, 60.0)


def test_a_run_in_which_nothing_finished_has_no_times() -> None:
    pending = [replace(COMPLETED, status="pending", completed_at=None)]
    assert timings(pending, []) == Timings([], [], 0.0)


@pytest.mark.parametrize(("per_cent", "value"), [(50, 50.0), (99, 99.0), (100, 100.0), (1, 1.0)])
def test_percentiles_are_by_nearest_rank(per_cent: int, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], per_cent) == value
    assert percentile([], per_cent) is None


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
