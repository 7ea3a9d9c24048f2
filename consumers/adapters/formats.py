"""Formats of figures and names in e-mails and invoices, the same in both. Pure.

There are no thousands separators, so that a total can be found by its digits. A customer's text keeps every visible
character and loses those that would begin a new line or header.
"""

import unicodedata
from decimal import Decimal

from orders.model import CENT

_NOT_ON_ONE_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def money(amount: Decimal) -> str:
    """An amount with exactly two decimals: `1234.50`."""
    return f"{amount:.2f}"


def unit_price(price: Decimal) -> str:
    """The exact price with two decimals at least: `14.00`, `0.125`. The database's trailing zeros are dropped."""
    shortest = price.normalize()
    return f"{shortest if shortest != round(shortest, 2) else shortest.quantize(CENT):f}"


def per_cent(fraction: Decimal) -> str:
    """A fraction as per cent: 0.05 is `5 %`, 0.125 is `12.5 %`."""
    return f"{(fraction * 100).normalize():f} %"


def one_line(text: str) -> str:
    """The text with each control character, line separator and lone surrogate as a blank, and no blanks around it."""
    return "".join(" " if unicodedata.category(char) in _NOT_ON_ONE_LINE else char for char in text).strip()
