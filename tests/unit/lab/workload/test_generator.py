from collections import Counter
from decimal import Decimal

import pytest

from lab.workload.expectations import ExpectedOrder, MailAddresses, Workload, ascii_name
from lab.workload.generator import generate, refusals
from orders.model import units_by_sku


@pytest.fixture(scope="module")
def workload() -> Workload:
    return generate(500)


def why(workload: Workload, one: ExpectedOrder) -> str:
    """Why the catalogue alone must reject an order."""
    shelf = {product.sku: product for product in workload.products}
    for line in one.order.lines:
        if line.sku not in shelf:
            return "unknown SKU"
        if line.unit_price not in shelf[line.sku].prices:
            return "price"
    wanted = units_by_sku(one.order.lines)
    return "stock" if any(units > shelf[sku].stock for sku, units in wanted.items()) else "nothing"


def test_the_same_seed_gives_the_same_orders_and_another_seed_gives_others(workload: Workload) -> None:
    assert generate(500) == workload
    assert generate(500, seed=1).orders != workload.orders


def test_of_500_orders_exactly_30_must_be_rejected_10_for_each_reason(workload: Workload) -> None:
    assert Counter(why(workload, one) for one in workload.refused) == {"unknown SKU": 10, "price": 10, "stock": 10}
    assert Counter(why(workload, ExpectedOrder(order)) for order in workload.completing) == {"nothing": 470}


def test_the_sku_at_fault_is_on_the_rejected_order(workload: Workload) -> None:
    assert workload.refused
    assert all(one.refused_for in {line.sku for line in one.order.lines} for one in workload.refused)


def test_stock_suffices_for_all_that_must_complete_in_whatever_order(workload: Workload) -> None:
    assert min(workload.stock_at_end.values()) > 0


def test_references_are_unique_and_so_are_the_customers_addresses(workload: Workload) -> None:
    customers = {(one.order.customer.name, one.order.customer.address): one.order.customer for one in workload.orders}
    emails = Counter(customer.email for customer in customers.values())

    assert len({one.order.reference for one in workload.orders}) == 500
    assert max(emails.values()) == 1
    assert all(email.isascii() and email.endswith("@example.com") for email in emails)


def test_the_orders_are_as_varied_as_real_ones(workload: Workload) -> None:
    orders = [one.order for one in workload.orders]
    names = "".join(order.customer.name for order in orders)
    lines = [line for order in orders for line in order.lines]

    assert {len(order.lines) for order in orders} == set(range(1, 9))
    assert sum(len(units_by_sku(order.lines)) < len(order.lines) for order in orders) > 25
    assert len({order.customer.address.country for order in orders}) == 20
    assert any(order.customer.address.postal_code is None for order in orders)
    assert "'" in names
    assert not names.isascii()
    assert {line.discount > 0 for line in lines} == {True, False}
    assert any(line.unit_price != line.unit_price.quantize(Decimal("0.01")) for line in lines)


@pytest.mark.parametrize(("count", "each"), [(1, 0), (5, 0), (6, 1), (60, 1), (100, 2), (500, 10), (2000, 40)])
def test_other_counts_keep_the_share_of_rejections(count: int, each: int) -> None:
    workload = generate(count)
    assert refusals(count) == each
    assert (len(workload.orders), len(workload.refused)) == (count, 3 * each)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Siobhán O'Brien", "siobhan.obrien"),
        ("Łukasz Śliwiński", "lukasz.sliwinski"),
        ("Großkopf & Söhne", "grosskopf.sohne"),
        ("Þóra Ægisdóttir", "thora.aegisdottir"),
        ("Αθηνά", "customer"),
        ("", "customer"),
    ],
)
def test_a_name_becomes_plain_ascii(name: str, plain: str) -> None:
    assert ascii_name(name) == plain


def test_two_customers_of_one_name_have_two_addresses_and_one_customer_always_the_same() -> None:
    addresses = MailAddresses()
    first, second = addresses.address("a", "Zoë"), addresses.address("b", "Zoé")
    assert (first, second) == ("zoe@example.com", "zoe2@example.com")
    assert addresses.address("a", "Zoë") == first
