"""Figures and names as e-mails and invoices write them."""

from decimal import Decimal

import pytest

from consumers.adapters.formats import money, one_line, per_cent, unit_price


@pytest.mark.parametrize(("amount", "written"), [("1234.5", "1234.50"), ("0", "0.00"), ("1265793.29", "1265793.29")])
def test_money_has_two_decimals_and_no_thousands_separator(amount: str, written: str) -> None:
    assert money(Decimal(amount)) == written


@pytest.mark.parametrize(
    ("price", "written"), [("14.0000", "14.00"), ("0.1250", "0.125"), ("1.2345", "1.2345"), ("1E+3", "1000.00")]
)
def test_a_unit_price_keeps_its_decimals_but_not_the_stores_zeros(price: str, written: str) -> None:
    assert unit_price(Decimal(price)) == written


@pytest.mark.parametrize(
    ("fraction", "written"), [("0.05", "5 %"), ("0.1250", "12.5 %"), ("0.2", "20 %"), ("0", "0 %")]
)
def test_a_discount_is_written_as_per_cent(fraction: str, written: str) -> None:
    assert per_cent(Decimal(fraction)) == written


def test_what_would_begin_a_new_line_becomes_a_blank() -> None:
    assert one_line(" Ada\r\nBcc: x\x00y\x85z\u2028w\u2029v ") == "Ada  Bcc: x y z w v"
