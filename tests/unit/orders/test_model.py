"""Money, units and statuses."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders import tables
from orders.model import FINAL, TRANSITIONS, Line, NewOrder, Status, StepState, invoice_number, units_by_sku
from tests.support.builders.orders import sample_order

LINES = st.builds(
    Line,
    sku=st.sampled_from(["A", "B", "C", "Ä"]),
    quantity=st.integers(1, 10_000),
    unit_price=st.decimals(0, 100_000, places=4),
    discount=st.decimals(0, Decimal("0.99999999"), places=8),
)


@pytest.mark.parametrize(
    ("unit_price", "quantity", "discount", "net"),
    [
        ("10.00", 3, "0", "30.00"),
        ("0.005", 1, "0", "0.01"),
        ("0.0049", 1, "0", "0.00"),
        ("0.015", 1, "0", "0.02"),
        ("0.025", 1, "0", "0.03"),
        ("1.005", 1, "0", "1.01"),
        ("2.675", 1, "0", "2.68"),
        ("0.05", 1, "0.9", "0.01"),
        ("0.01", 1, "0.5", "0.01"),
        ("0.01", 1, "0.51", "0.00"),
        ("10.10", 5, "0.25", "37.88"),
        ("33.25", 1, "0.1", "29.93"),
        ("18.95", 10, "0.05", "180.03"),
        ("99999.9999", 10000, "0", "999999999.00"),
        ("19.99", 7, "0.12345678", "122.65"),
        ("5", 1, "0.99999999", "0.00"),
    ],
)
def test_a_lines_net_is_rounded_half_up_to_the_cent(unit_price: str, quantity: int, discount: str, net: str) -> None:
    assert str(Line("A", quantity, Decimal(unit_price), Decimal(discount)).net) == net


@given(LINES)
def test_a_net_is_in_whole_cents_within_half_a_cent_of_the_exact_figure(line: Line) -> None:
    exact = line.unit_price * line.quantity * (1 - line.discount)
    assert line.net.as_tuple().exponent == -2
    assert Decimal("-0.005") < line.net - exact <= Decimal("0.005")
    assert line.net <= line.gross


@given(st.lists(LINES, max_size=20))
def test_an_orders_net_is_the_sum_of_its_lines_nets(lines: list[Line]) -> None:
    sample = sample_order()
    order = NewOrder(reference="R", customer=sample.customer, currency="USD", lines=tuple(lines))
    assert order.net_total == sum(line.net for line in lines)
    assert order.net_total.as_tuple().exponent == -2


def test_lines_of_one_sku_are_one_demand_in_sku_order() -> None:
    price = Decimal(1)
    lines = (Line("B", 2, price), Line("A", 1, price), Line("B", 3, price), Line("C", 1, price), Line("A", 4, price))
    assert list(units_by_sku(lines).items()) == [("A", 5), ("B", 5), ("C", 1)]


@given(st.lists(LINES, max_size=20))
def test_no_unit_is_lost_or_made_when_lines_are_merged(lines: list[Line]) -> None:
    units = units_by_sku(tuple(lines))
    assert sum(units.values()) == sum(line.quantity for line in lines)
    assert list(units) == sorted({line.sku for line in lines})


def test_every_status_has_its_transitions_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(Status)
    reached = {Status.PENDING}
    for _ in Status:
        reached |= {following for status in reached for following in TRANSITIONS[status]}
    assert reached == set(Status)


def test_an_order_ends_completed_or_rejected() -> None:
    assert {Status.COMPLETED, Status.REJECTED} == FINAL


def test_what_sap_holds_can_no_longer_be_rejected() -> None:
    before_sap = {status for status, following in TRANSITIONS.items() if Status.REJECTED in following}
    assert before_sap == {Status.PENDING, Status.VALIDATED}


def check_text(table: str, name: str) -> str:
    constraints = tables.metadata.tables[table].constraints
    return next(str(vars(check)["sqltext"]) for check in constraints if check.name == name)


def test_the_schema_checks_every_status_and_step_state() -> None:
    assert [f"'{status}'" in check_text("orders", "status_known") for status in Status] == [True] * len(Status)
    assert [f"'{state}'" in check_text("order_steps", "state_known") for state in StepState] == [True] * len(StepState)


def test_an_invoice_number_names_its_series_and_has_six_digits() -> None:
    assert invoice_number("2026", 42) == "2026-000042"
    assert invoice_number("2026", 1_234_567) == "2026-1234567"
