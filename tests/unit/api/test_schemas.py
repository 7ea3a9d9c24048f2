"""Which bodies are orders, without a server."""

import copy
import json
from decimal import Decimal
from typing import Any

import pytest

from api.problems import ProblemError
from api.schemas import MAX_LINES, parse_order
from orders.model import Line
from tests.support.builders.in_process_api import order_body


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def with_line(**changes: Any) -> dict[str, Any]:
    line = {"sku": "A", "quantity": 1, "unit_price": "14.00", **changes}
    return order_body(lines=[line])


def with_customer(**changes: Any) -> dict[str, Any]:
    body = order_body()
    body["customer"] |= changes
    return body


def with_address(**changes: Any) -> dict[str, Any]:
    body = order_body()
    body["customer"]["address"] |= changes
    return body


def without(*path: str) -> dict[str, Any]:
    body = order_body()
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return body


def refusal(body: bytes) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        parse_order(body)
    return caught.value


LINE = "lines[0]"
REFUSED = [
    (order_body(reference=""), "reference", "", "empty"),
    (order_body(reference="  "), "reference", "  ", "blanks"),
    (order_body(reference="x" * 101), "reference", "x" * 100 + "…", "at most 100"),
    (order_body(reference="a\x00b"), "reference", "a\x00b", "U+0000"),
    (order_body(reference="a\nb"), "reference", "a\nb", "U+000A"),
    (order_body(reference="a\u200bb"), "reference", "a\u200bb", "U+200B"),
    (order_body(reference=7), "reference", 7, "string"),
    (order_body(reference=None), "reference", None, "string"),
    (without("reference"), "reference", None, "required"),
    (order_body(currency="eur"), "currency", "eur", "pattern"),
    (order_body(currency="EURO"), "currency", "EURO", "pattern"),
    (order_body(currency="EUR\n"), "currency", "EUR\n", "pattern"),
    (order_body(priority="high"), "priority", "high", "not a field"),
    (order_body(customer="Anna"), "customer", "Anna", "object"),
    (order_body(lines=[]), "lines", "[]", "at least 1"),
    (order_body(lines={}), "lines", "{}", "list"),
    (without("customer", "name"), "customer.name", None, "required"),
    (with_customer(name=""), "customer.name", "", "empty"),
    (with_customer(name="Anna\x07"), "customer.name", "Anna\x07", "U+0007"),
    (with_customer(name="Anna\u2028"), "customer.name", "Anna\u2028", "U+2028"),
    (with_customer(phone="1"), "customer.phone", "1", "not a field"),
    (with_customer(email="anna"), "customer.email", "anna", "@-sign"),
    (with_customer(email="a@b"), "customer.email", "a@b", "period"),
    (with_customer(email="a b@x.example"), "customer.email", "a b@x.example", "not an e-mail"),
    (
        with_customer(email="a@x.example\r\nBcc: b@x.example"),
        "customer.email",
        "a@x.example\r\nBcc: b@x.example",
        "U+000D",
    ),
    (with_customer(email="Anna <a@x.example>"), "customer.email", "Anna <a@x.example>", "not an e-mail"),
    (without("customer", "address", "street"), "customer.address.street", None, "required"),
    (without("customer", "address", "city"), "customer.address.city", None, "required"),
    (without("customer", "address", "country"), "customer.address.country", None, "required"),
    (with_address(region=""), "customer.address.region", "", "left out"),
    (with_address(postal_code=67000), "customer.address.postal_code", 67000, "string"),
    (with_line(sku=""), f"{LINE}.sku", "", "empty"),
    (with_line(sku="x" * 101), f"{LINE}.sku", "x" * 100 + "…", "at most 100"),
    (with_line(quantity=0), f"{LINE}.quantity", 0, "at least 1"),
    (with_line(quantity=-1), f"{LINE}.quantity", -1, "at least 1"),
    (with_line(quantity=1_000_001), f"{LINE}.quantity", 1_000_001, "at most 1000000"),
    (with_line(quantity=10**30), f"{LINE}.quantity", "1" + "0" * 30, "at most 1000000"),
    (with_line(quantity=True), f"{LINE}.quantity", True, "whole JSON number"),
    (with_line(quantity=1.0), f"{LINE}.quantity", 1.0, "whole JSON number"),
    (with_line(quantity="1"), f"{LINE}.quantity", "1", "whole JSON number"),
    (with_line(quantity=None), f"{LINE}.quantity", None, "whole JSON number"),
    (with_line(unit_price=14), f"{LINE}.unit_price", 14, 'JSON string such as "14.00"'),
    (with_line(unit_price=0.1), f"{LINE}.unit_price", 0.1, "loses cents"),
    (with_line(unit_price=True), f"{LINE}.unit_price", True, "JSON string"),
    (with_line(unit_price="-1"), f"{LINE}.unit_price", "-1", "at least 0"),
    (with_line(unit_price="1.00001"), f"{LINE}.unit_price", "1.00001", "4 decimals"),
    (with_line(unit_price="1" * 15), f"{LINE}.unit_price", "1" * 15, "14 digits"),
    (with_line(unit_price="1e999999"), f"{LINE}.unit_price", "1e999999", "plain amount"),
    (with_line(unit_price="NaN"), f"{LINE}.unit_price", "NaN", "plain amount"),
    (with_line(unit_price="Infinity"), f"{LINE}.unit_price", "Infinity", "plain amount"),
    (with_line(unit_price="1_000"), f"{LINE}.unit_price", "1_000", "plain amount"),
    (with_line(unit_price=" 1"), f"{LINE}.unit_price", " 1", "plain amount"),
    (with_line(unit_price="1\n"), f"{LINE}.unit_price", "1\n", "plain amount"),
    (with_line(unit_price="١٢"), f"{LINE}.unit_price", "١٢", "plain amount"),
    (with_line(unit_price="{0}"), f"{LINE}.unit_price", "{0}", "plain amount"),
    (with_line(unit_price="9" * 10_000), f"{LINE}.unit_price", "9" * 100 + "…", "plain amount"),
    (with_line(discount="1"), f"{LINE}.discount", "1", "below 1"),
    (with_line(discount=1), f"{LINE}.discount", 1, "below 1"),
    (with_line(discount=-0.1), f"{LINE}.discount", -0.1, "from 0"),
    (with_line(discount="0.123456789"), f"{LINE}.discount", "0.123456789", "8 decimals"),
    (with_line(discount=1e-9), f"{LINE}.discount", 1e-09, "8 decimals"),
    (with_line(discount=False), f"{LINE}.discount", False, "fraction"),
    (with_line(discount=None), f"{LINE}.discount", None, "fraction"),
    (with_line(discount=[0.1]), f"{LINE}.discount", "[0.1]", "fraction"),
    (with_line(discount=float("nan")), f"{LINE}.discount", "nan", "fraction"),
    (with_line(discount=float("inf")), f"{LINE}.discount", "inf", "fraction"),
    (with_line(dicsount="0.1"), f"{LINE}.dicsount", "0.1", "not a field"),
    (with_line(**{"x" * 500: 1}), f"{LINE}.{'x' * 100}…", 1, "not a field"),
    ([], "body", "[]", "object"),
    ("order", "body", "order", "object"),
    (None, "body", None, "object"),
]


@pytest.mark.parametrize(
    ("body", "field", "value", "words"), REFUSED, ids=[f"{i}-{r[1][:40]}" for i, r in enumerate(REFUSED)]
)
def test_what_is_no_order_is_refused_by_field_and_value(body: object, field: str, value: object, words: str) -> None:
    problem = refusal(encoded(body))

    (error,) = problem.members["errors"]
    assert (problem.status, error["field"], error["value"]) == (422, field, value)
    assert words in error["message"]
    assert problem.detail.startswith(f"{field}: ")


@pytest.mark.parametrize("place", ["reference", "name"])
def test_a_lone_surrogate_is_refused_by_field(place: str) -> None:
    body = order_body(reference="a\ud800b") if place == "reference" else with_customer(name="\udfff")

    (error,) = refusal(encoded(body)).members["errors"]

    assert error["field"] in ("reference", "customer.name")
    assert "surrogate" in error["message"]
    json.dumps(error).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"reference": "\xff"}',
        b"[" * 200_000,
        b'{"a":' * 5_000,
        b'{"reference": "\\ud800"',
        b'{"reference": ' + b"9" * 10_000 + b"}",
        '{"reference": "x"}'.encode("utf-16"),
    ],
    ids=["empty", "cut", "binary", "latin", "deep list", "deep object", "cut surrogate", "endless number", "utf-16"],
)
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    problem = refusal(body)

    assert (problem.status, problem.slug) == (400, "invalid-json")
    assert "not JSON" in problem.detail


def test_every_wrong_field_is_named_at_once() -> None:
    body = with_line(quantity=0, unit_price=1, sku="")

    problem = refusal(encoded(body))

    assert {error["field"] for error in problem.members["errors"]} == {
        f"{LINE}.{n}" for n in ("sku", "quantity", "unit_price")
    }
    assert problem.detail.endswith("(and 2 more)")


def test_a_thousand_wrong_lines_are_reported_briefly() -> None:
    line = {"sku": "A", "quantity": 0, "unit_price": "1"}

    problem = refusal(encoded(order_body(lines=[line] * MAX_LINES)))

    assert len(problem.members["errors"]) == 50


def test_one_line_too_many_is_refused_with_both_counts() -> None:
    line = {"sku": "A", "quantity": 1, "unit_price": "1"}

    accepted = parse_order(encoded(order_body(lines=[line] * MAX_LINES)))
    (error,) = refusal(encoded(order_body(lines=[line] * (MAX_LINES + 1)))).members["errors"]

    assert len(accepted.lines) == MAX_LINES
    assert error["field"] == "lines"
    assert "1000" in error["message"]
    assert "1001" in error["message"]


@pytest.mark.parametrize(
    ("line", "net"),
    [
        ({"unit_price": "0.1", "quantity": 3}, "0.30"),
        ({"unit_price": "0.335", "quantity": 3}, "1.01"),  # 1.005 half up
        ({"unit_price": "14.00", "quantity": 12, "discount": 0.05}, "159.60"),
        ({"unit_price": "14.00", "quantity": 12, "discount": "0.05"}, "159.60"),
        ({"unit_price": "0.0001", "quantity": 49}, "0.00"),
        ({"unit_price": "0.0001", "quantity": 50}, "0.01"),
        ({"unit_price": "0", "quantity": 1}, "0.00"),
        ({"unit_price": "99999999999999.9999", "quantity": 1, "discount": "0.99999999"}, "1000000.00"),
        ({"unit_price": "9999999999.9999", "quantity": 999_999, "discount": "0.00000001"}, "9999989900000000.00"),
    ],
)
def test_money_is_exact(line: dict[str, Any], net: str) -> None:
    order = parse_order(encoded(with_line(**line)))

    assert (str(order.lines[0].net), str(order.net_total)) == (net, net)


def test_a_net_total_that_no_column_holds_is_refused() -> None:
    half = {"sku": "A", "quantity": 500, "unit_price": "9999999999999.9999"}

    fits = parse_order(encoded(order_body(lines=[half])))
    (error,) = refusal(encoded(order_body(lines=[half, half, half]))).members["errors"]

    assert fits.net_total < 10**16
    assert error["field"] == "lines"
    assert "14999999999999999.85" in error["message"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a@example.com", "a@example.com"),
        ("O'Brien+x@Waybill.EXAMPLE", "O'Brien+x@waybill.example"),
        ("jõgeva@dömäin.example", "jõgeva@dömäin.example"),
        ("a@shop.test", "a@shop.test"),
    ],
)
def test_addresses_of_all_countries_and_of_tests_are_fine(sent: str, kept: str) -> None:
    assert parse_order(encoded(with_customer(email=sent))).customer.email == kept


def test_an_order_comes_through_as_it_was_sent() -> None:
    body = order_body(reference="PO 7/é'\"")
    body["customer"] |= {"name": "Nguyễn Thị \u200c Ngọc 🚚"}
    body["customer"]["address"] |= {"region": "Grand Est", "postal_code": None}

    order = parse_order(encoded(copy.deepcopy(body)))

    assert order.reference == body["reference"]
    assert order.customer.name == body["customer"]["name"]
    assert (order.customer.address.region, order.customer.address.postal_code) == ("Grand Est", None)
    assert order.lines[0] == Line("SKU-0011", 12, Decimal("14.00"), Decimal("0.05"))
    assert order.lines[1].discount == 0
