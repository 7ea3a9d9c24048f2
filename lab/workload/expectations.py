"""A workload and its expected outcome: products with stock and prices, orders, and which of them must fail. Pure.

Everything that is expected at the end is computed here, from the input alone.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from orders.model import NewOrder, units_by_sku

MAIL_DOMAIN = "example.com"
# Characters that Unicode does not decompose into a base character and an accent.
_SPELT_OUT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "œ": "oe", "Œ": "Oe", "\u0131": "i"}
)


@dataclass(frozen=True, slots=True)
class CatalogueProduct:
    """A product of the catalogue. `stock` is the number of units before the first order, `prices` its price list."""

    sku: str
    name: str
    stock: int
    prices: frozenset[Decimal]


@dataclass(frozen=True, slots=True)
class ExpectedOrder:
    """An order to send. `refused_for` is the SKU for which it must be rejected; None: it must complete."""

    order: NewOrder
    refused_for: str | None = None


@dataclass(frozen=True)
class Workload:
    """All that one trial sends, in one currency. `notes` are remarks on the input, printed for a person."""

    title: str
    currency: str
    products: tuple[CatalogueProduct, ...]
    orders: tuple[ExpectedOrder, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def completing(self) -> tuple[NewOrder, ...]:
        """The orders that must complete."""
        return tuple(one.order for one in self.orders if one.refused_for is None)

    @cached_property
    def refused(self) -> tuple[ExpectedOrder, ...]:
        """The orders that must be rejected."""
        return tuple(one for one in self.orders if one.refused_for is not None)

    @cached_property
    def net_total(self) -> Decimal:
        """The net of the orders that must complete, each line rounded."""
        return sum((order.net_total for order in self.completing), Decimal("0.00"))

    @cached_property
    def units(self) -> Counter[str]:
        """Units per SKU that the completing orders take."""
        taken: Counter[str] = Counter()
        for order in self.completing:
            taken.update(units_by_sku(order.lines))
        return taken

    @cached_property
    def stock_at_end(self) -> dict[str, int]:
        """Units that must be available per SKU when everything is done."""
        return {product.sku: product.stock - self.units[product.sku] for product in self.products}


class MailAddresses:
    """One address under example.com per customer: ASCII before the @, no two customers alike."""

    def __init__(self) -> None:
        self._by_customer: dict[str, str] = {}
        self._taken: set[str] = set()

    def address(self, customer: str, name: str) -> str:
        """The address of `customer` (any key), made from `name` at the first call."""
        if customer not in self._by_customer:
            local = first = ascii_name(name)
            number = 1
            while local in self._taken:
                number += 1
                local = f"{first}{number}"
            self._taken.add(local)
            self._by_customer[customer] = f"{local}@{MAIL_DOMAIN}"
        return self._by_customer[customer]


def ascii_name(name: str) -> str:
    """The name's characters and digits without accents, dots between its words; "customer" when none is left."""
    bare = unicodedata.normalize("NFKD", name.translate(_SPELT_OUT)).replace("'", "").replace("\u2019", "")
    words = re.findall(r"[a-z0-9]+", bare.encode("ascii", "ignore").decode().lower())
    return ".".join(words)[:60].strip(".") or "customer"
