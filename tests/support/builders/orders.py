"""Orders for tests to start from: one plausible order, changed field by field."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from orders.model import Address, Customer, Invoice, Line, NewOrder, Order, Status

NAMES = (
    "Zażółć Gęślą Jaźń Sp. z o.o.",
    "Příliš žluťoučký kůň",
    "Nguyễn Thị Hồng Ngọc, Đặng Văn Lữ",
    "Αθηνά Παπαδοπούλου",
    "Щербаков Юрий Ёлкин",
    "Ægir Þórðarson & Ölåf Ĳssel",
    "O'Brien, \"Bob\" D'Angelo-Müller",
)
HOSTILE_NAMES = (
    '#read("/etc/passwd")',
    "*x* _y_ $z$ \\ \" ' <b>bold</b> @label [c] `raw` // #{1+1} = / ~ --",
    "{{ 7 * 7 }} {% raw %} & </td><script>alert(1)</script>",
)


def sample_order(**changes: Any) -> Order:
    """An accepted order of two lines, net total 1234.50 USD; `changes` are fields of Order."""
    order = Order(
        reference="PO-2026/0815",
        customer=Customer(
            name="Frédérique Citeaux",
            email="frederique@blondel.example",
            address=Address(
                street="24, place Kléber", city="Strasbourg", country="France", postal_code="67000", region="Grand Est"
            ),
        ),
        currency="USD",
        lines=(
            Line("SKU-0011", 100, Decimal("11.0000"), Decimal("0.0500")),
            Line("SKU-0042", 10, Decimal("18.9500")),
        ),
        id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
        number="WB-00000042",
        status=Status.SYNCED,
        placed_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    )
    return replace(order, **changes)


def sample_invoice(**changes: Any) -> Invoice:
    """The invoice of `sample_order()`; `changes` are fields of Invoice."""
    invoice = Invoice(
        number="2026-000042", order_id=sample_order().id, issued_at=datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
    )
    return replace(invoice, **changes)


def new_order(reference: str = "PO-1", **changes: object) -> NewOrder:
    sample = sample_order()
    order = NewOrder(reference=reference, customer=sample.customer, currency=sample.currency, lines=sample.lines)
    return replace(order, **changes)  # type: ignore[arg-type]
