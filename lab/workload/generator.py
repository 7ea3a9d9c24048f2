"""Generated orders: the same seed gives the same catalogue, customers and orders, to the character. Pure.

Six in a hundred must be rejected: a third each for an unknown SKU, for a price that is not on the list, and for lack
of stock (500 orders: 10, 10 and 10). An order that must run out of stock asks for more units than there ever were of
its product, and all the others together for less than there are, so the sequence of processing decides nothing.
"""

import random
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from lab.workload.expectations import CatalogueProduct, ExpectedOrder, MailAddresses, Workload
from lab.workload.names import GOODS, LANDS, PACKS, Land
from orders.model import Address, Customer, Line, NewOrder, units_by_sku

SEED = 20260301
CURRENCY = "EUR"
CUSTOMERS = 100
_DISCOUNTS = tuple(Decimal(text) for text in ("0", "0", "0", "0", "0.02", "0.05", "0.075", "0.1", "0.125", "0.15"))
_SAME_SKU_TWICE = 0.15  # share of orders with one SKU on two lines
_TENTH_OF_A_CENT = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class _Ware:
    """A product before its stock is known: the list price first, then what larger customers pay."""

    sku: str
    name: str
    prices: tuple[Decimal, ...]


def generate(count: int, seed: int = SEED) -> Workload:
    """`count` orders; for each of the three reasons `refusals(count)` of them must be rejected."""
    rng = random.Random(seed)  # noqa: S311  # plausible, not secret
    wares = _wares(rng)
    customers = _customers(rng)
    plain = [_order(rng, number, customers, wares) for number in range(1, count + 1)]
    failing = _failing(rng, plain)
    units: Counter[str] = Counter()
    for position, order in enumerate(plain):
        if position not in failing:
            units.update(units_by_sku(order.lines))
    products = tuple(
        CatalogueProduct(ware.sku, ware.name, units[ware.sku] + rng.randint(5, 60), frozenset(ware.prices))
        for ware in wares
    )
    shelf = {product.sku: product for product in products}
    orders = tuple(
        failing[position](order, shelf) if position in failing else ExpectedOrder(order)
        for position, order in enumerate(plain)
    )
    return Workload(f"{count} generated orders (seed {seed})", CURRENCY, products, orders)


def refusals(count: int) -> int:
    """How many orders are rejected for each reason: one in fifty, and one at least from six orders on."""
    return max(count // 50, 1 if count >= 6 else 0)


MakeFail = Callable[[NewOrder, dict[str, CatalogueProduct]], ExpectedOrder]


def _failing(rng: random.Random, orders: Sequence[NewOrder]) -> dict[int, MakeFail]:
    """The orders that must fail, by position, each with the function that makes it fail."""
    ways_to_fail: list[MakeFail] = [_unknown_sku, _wrong_price, _out_of_stock] * refusals(len(orders))
    return dict(zip(rng.sample(range(len(orders)), len(ways_to_fail)), ways_to_fail, strict=True))


def _unknown_sku(order: NewOrder, _shelf: dict[str, CatalogueProduct]) -> ExpectedOrder:
    return _with_last_line(order, sku=f"{order.lines[-1].sku}-OLD")


def _wrong_price(order: NewOrder, shelf: dict[str, CatalogueProduct]) -> ExpectedOrder:
    dearest = max(shelf[order.lines[-1].sku].prices)
    return _with_last_line(order, unit_price=dearest + Decimal("0.35"))


def _out_of_stock(order: NewOrder, shelf: dict[str, CatalogueProduct]) -> ExpectedOrder:
    last = order.lines[-1]
    return _with_last_line(order, quantity=shelf[last.sku].stock + last.quantity)


def _with_last_line(
    order: NewOrder, sku: str | None = None, unit_price: Decimal | None = None, quantity: int | None = None
) -> ExpectedOrder:
    last = order.lines[-1]
    bad = Line(sku or last.sku, quantity or last.quantity, unit_price or last.unit_price, last.discount)
    return ExpectedOrder(replace(order, lines=(*order.lines[:-1], bad)), refused_for=bad.sku)


def _wares(rng: random.Random) -> list[_Ware]:
    wares = []
    for prefix, name, price in GOODS:
        for suffix, pack, factor in PACKS:
            listed = Decimal(price) if factor == "1" else _cents(Decimal(price) * Decimal(factor))
            prices = [listed]
            if rng.random() < 0.4:
                prices.append((listed * Decimal("0.93")).quantize(_TENTH_OF_A_CENT, ROUND_HALF_UP))
            wares.append(_Ware(f"{prefix}-{suffix}", f"{name}, {pack}", tuple(prices)))
    return wares


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _customers(rng: random.Random) -> list[Customer]:
    addresses = MailAddresses()
    customers = []
    for number in range(CUSTOMERS):
        land = LANDS[number % len(LANDS)]
        name = _name(rng, land)
        customers.append(Customer(name, addresses.address(str(number), name), _address(rng, land)))
    return customers


def _name(rng: random.Random, land: Land) -> str:
    if rng.random() < 0.25:
        return rng.choice(land.companies)
    given, family = rng.choice(land.given), rng.choice(land.family)
    return f"{family} {given}" if land.country in {"Hungary", "Viet Nam"} else f"{given} {family}"


def _address(rng: random.Random, land: Land) -> Address:
    return Address(
        street=f"{rng.choice(land.streets)} {rng.randint(1, 199)}",
        city=rng.choice(land.cities),
        country=land.country,
        postal_code=_postal_code(rng, land.postal) if land.postal else None,
        region=rng.choice(land.regions) if land.regions else None,
    )


def _postal_code(rng: random.Random, form: str) -> str:
    drawn = {"#": string.digits, "@": string.ascii_uppercase}
    return "".join(rng.choice(drawn[char]) if char in drawn else char for char in form)


def _order(rng: random.Random, number: int, customers: Sequence[Customer], wares: Sequence[_Ware]) -> NewOrder:
    lines = [_line(rng, ware) for ware in rng.sample(wares, rng.randint(1, 7))]
    if rng.random() < _SAME_SKU_TWICE:
        again = rng.choice(lines)
        lines.insert(0, replace(again, quantity=rng.randint(1, 12), discount=Decimal(0)))
    return NewOrder(
        reference=f"DEMO-{number:05d}", customer=rng.choice(customers), currency=CURRENCY, lines=tuple(lines)
    )


def _line(rng: random.Random, ware: _Ware) -> Line:
    return Line(ware.sku, rng.randint(1, 48), rng.choice(ware.prices), rng.choice(_DISCOUNTS))
