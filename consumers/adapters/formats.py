"""How e-mails and invoices write figures and names: the same figure looks the same on both. Pure.

No thousands separators: a total can be found by its digits. Text that customers chose keeps every character that shows
and loses those that would begin a new line or header.
"""

import unicodedata
from decimal import Decimal

from orders.model import CENT

_NOT_ON_ONE_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def money(amount: Decimal) -> str:
    """An amount with exactly two decimals: `1234.50`."""
    return f"{amount:.2f}"


def unit_price(price: Decimal) -> str:
    """A price as it is, with two decimals at least: `14.00`, `0.125`. The store's trailing zeros are dropped."""
    shortest = price.normalize()
    return f"{shortest if shortest != round(shortest, 2) else shortest.quantize(CENT):f}"


def per_cent(fraction: Decimal) -> str:
    """A fraction as per cent: 0.05 is `5 %`, 0.125 is `12.5 %`."""
    return f"{(fraction * 100).normalize():f} %"


def one_line(text: str) -> str:
    """The text with each control character, line separator and lone surrogate as a blank, and no blanks around it."""
    return "".join(" " if unicodedata.category(char) in _NOT_ON_ONE_LINE else char for char in text).strip()
