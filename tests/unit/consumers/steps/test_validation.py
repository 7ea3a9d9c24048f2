"""Why validation says no, reason by reason."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from consumers.steps.validation import reasons_to_reject
from orders.catalogue import Product
from orders.model import Address, Line, Order
from tests.support.builders.orders import sample_order

PRICES = frozenset({("USD", Decimal("11.0000")), ("USD", Decimal("18.9500")), ("EUR", Decimal("10.0000"))})
PRODUCTS = {sku: Product(sku, sellable=True, prices=PRICES) for sku in ("SKU-0011", "SKU-0042")}


def _codes(order: Order, **products: Product) -> list[str]:
    known = PRODUCTS | {product.sku: product for product in products.values()}
    return [reason.code for reason in reasons_to_reject(order, known)]


def test_a_sound_order_has_no_reason_against_it() -> None:
    assert _codes(sample_order()) == []


@pytest.mark.parametrize("optional", ["postal_code", "region"])
@pytest.mark.parametrize("value", [None, ""])
def test_postal_code_and_region_may_be_missing(optional: str, value: str | None) -> None:
    customer = sample_order().customer
    changed: dict[str, Any] = {optional: value}
    order = sample_order(customer=replace(customer, address=replace(customer.address, **changed)))
    assert _codes(order) == []


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"email": ""}, "e-mail address"),
        ({"address": Address("", "Cork", "Ireland")}, "street"),
        ({"address": Address("8 Johnstown Road", " ", "Ireland")}, "city"),
        ({"address": Address("8 Johnstown Road", "Cork", "")}, "country"),
        ({"address": Address("", "", "")}, "street, city, country"),
    ],
)
def test_what_a_customer_lacks_is_named_in_one_reason(changes: dict[str, Any], missing: str) -> None:
    order = sample_order(customer=replace(sample_order().customer, **changes))
    (reason,) = reasons_to_reject(order, PRODUCTS)
    assert (reason.code, reason.message) == ("customer_incomplete", f"The customer's {missing} is missing.")


@pytest.mark.parametrize("price", ["11", "11.0", "11.00", "11.0000", "1.1E+1"])
def test_a_price_on_the_list_is_known_however_it_is_written(price: str) -> None:
    assert _codes(sample_order(lines=(Line("SKU-0011", 1, Decimal(price)),))) == []


@pytest.mark.parametrize("price", ["10.99", "11.01", "0", "10"])
def test_a_price_that_is_not_on_the_list_of_this_currency_is_a_reason(price: str) -> None:
    assert _codes(sample_order(lines=(Line("SKU-0011", 1, Decimal(price)),))) == ["price"]


def test_each_wrong_line_has_one_reason_that_says_which_line_it_is() -> None:
    lines = (
        Line("SKU-9999", 1, Decimal(1)),
        Line("SKU-0011", 1, Decimal(1)),
        Line("SKU-0042", 1, Decimal("18.95")),
        Line("SKU-0050", 1, Decimal(11)),
        Line("SKU-0051", 1, Decimal(11)),
    )
    products = {
        **PRODUCTS,
        "SKU-0050": Product("SKU-0050", sellable=False, prices=PRICES),
        "SKU-0051": Product("SKU-0051", sellable=True, prices=frozenset()),
    }
    reasons = list(reasons_to_reject(sample_order(lines=lines), products))
    assert [(reason.code, reason.message.split(":")[0], reason.sku) for reason in reasons] == [
        ("unknown_sku", "Line 1", "SKU-9999"),
        ("price", "Line 2", "SKU-0011"),
        ("not_sellable", "Line 4", "SKU-0050"),
        ("currency", "Line 5", "SKU-0051"),
    ]


def test_another_currency_than_the_lists_is_a_reason_for_each_line() -> None:
    assert _codes(sample_order(currency="CHF")) == ["currency", "currency"]
