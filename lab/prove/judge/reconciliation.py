"""Judges the sums in our own tables: stock, reservations, sales, the audit log. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal

from lab.prove.judge.facts import Facts
from lab.prove.judge.finding import Due, Finding, Kind
from lab.workload.expectations import Workload
from orders.model import units_by_sku


def reconciliation(workload: Workload, facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """The findings on our own tables."""
    yield from _stock(workload, facts, dues)
    yield from _reservations(facts, dues)
    yield from _sales(facts, dues)
    yield from _audit(facts, dues)


def _stock(workload: Workload, facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """The stock of each product is the initial stock less the units of the accepted orders that complete."""
    taken: Counter[str] = Counter()
    for due in dues.values():
        if due.completes:
            taken.update(units_by_sku(due.order.lines))
    for product in workload.products:
        left, found = product.stock - taken[product.sku], facts.available.get(product.sku)
        if found != left:
            kind: Kind = "duplicated" if found is not None and found < left else "lost"
            yield Finding(kind, "stock", product.sku, f"{found} available, {left} due")


def _reservations(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """Each completing order holds its units."""
    expected = {
        (due.id, sku): units
        for due in dues.values()
        if due.completes
        for sku, units in units_by_sku(due.order.lines).items()
    }
    for key in expected.keys() | facts.reservations.keys():
        units, found = expected.get(key, 0), facts.reservations.get(key, 0)
        if units != found:
            kind: Kind = "duplicated" if found > units else "lost"
            about = dues[key[0]].reference if key[0] in dues else key[0]
            yield Finding(kind, "reservation", about, f"{key[1]}: {found} units, {units} due")


def _sales(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """Units and revenue by product and country, over all days."""
    units: Counter[tuple[str, str]] = Counter()
    revenue: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for due in dues.values():
        for line in due.order.lines if due.completes else ():
            key = (line.sku, due.order.customer.address.country)
            units[key] += line.quantity
            revenue[key] += line.net
    for key in units.keys() | facts.sales.keys():
        found = facts.sales.get(key, (0, Decimal(0)))
        if found != (units[key], revenue[key]):
            kind: Kind = "duplicated" if found > (units[key], revenue[key]) else "lost"
            yield Finding(kind, "sales figure", " in ".join(key), f"{found}, not {(units[key], revenue[key])}")


def _audit(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """The audit log holds each recorded event and no other."""
    recorded = {event.id: event for event in facts.events}
    logged = Counter(row.event_id for row in facts.audit)
    for event in facts.events:
        if not logged[event.id]:
            about = dues[event.subject].reference if event.subject in dues else event.subject
            yield Finding("lost", "audit row", about, f"{event.type} {event.id}")
    for row in facts.audit:
        if row.event_id not in recorded:
            yield Finding("duplicated", "audit row", row.order_id, f"{row.type} {row.event_id} was never recorded")
