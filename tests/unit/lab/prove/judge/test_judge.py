"""The judge on made-up facts: each thing that can be wrong is found and named."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from lab.prove.judge.facts import (
    AuditFound,
    DocumentFound,
    EmailFound,
    EventFound,
    Facts,
    GarbageFound,
    InvoiceFound,
    Kill,
    OrderFound,
)
from lab.prove.judge.finding import Finding
from lab.prove.judge.judge import judge
from lab.workload.generator import generate
from orders.model import units_by_sku
from orders.workflow import STEPS

WORKLOAD = generate(40)
WAY = ("order.placed", "order.validated", "inventory.reserved", "order.synced", "order.fulfilled", "order.completed")
IDS = {one.order.reference: str(UUID(int=place)) for place, one in enumerate(WORKLOAD.orders, 1)}
DONE = [one.order for one in WORKLOAD.orders if one.refused_for is None]


def _events() -> list[EventFound]:
    ways = [
        (IDS[one.order.reference], WAY if one.refused_for is None else ("order.placed", "order.rejected"))
        for one in WORKLOAD.orders
    ]
    return [
        EventFound(f"{place}-{step}", event_type, order_id)
        for step in range(len(WAY))
        for place, (order_id, way) in enumerate(ways)
        for event_type in way[step : step + 1]
    ]


def _email(event: EventFound, kept_at: float = 100.0, file: str = "1.eml") -> EmailFound:
    reference = next(reference for reference, order_id in IDS.items() if order_id == event.subject)
    email = next(one.order.customer.email for one in WORKLOAD.orders if one.order.reference == reference)
    return EmailFound(file, f"<{event.id}@waybill.example>", (email,), kept_at)


def _sales() -> dict[tuple[str, str], tuple[int, Decimal]]:
    sales: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for order in DONE:
        for line in order.lines:
            key = (line.sku, order.customer.address.country)
            units, revenue = sales.get(key, (0, Decimal(0)))
            sales[key] = (units + line.quantity, revenue + line.net)
    return sales


def all_well() -> Facts:
    """What is found when everything went as it should."""
    events = _events()
    synced = {IDS[order.reference] for order in DONE}
    return Facts(
        accepted=IDS,
        orders=[
            OrderFound(
                IDS[one.order.reference],
                f"WB-{place}",
                one.order.reference,
                "completed" if one.refused_for is None else "rejected",
            )
            for place, one in enumerate(WORKLOAD.orders)
        ],
        events=events,
        arrived=[event.id for event in events],
        deliveries={
            (step.queue, event.id): "done"
            for event in events
            for step in STEPS
            if event.type in step.listens_to and step.queue != "audit"
        },
        documents=[
            DocumentFound(str(place), f"WB-{place}", IDS[order.reference], order.net_total)
            for place, order in enumerate(DONE)
        ],
        emails=[
            _email(event)
            for event in events
            if event.type == ("order.synced" if event.subject in synced else "order.rejected")
        ],
        invoices=[
            InvoiceFound("2026", place, IDS[order.reference], f"invoices/{place}.pdf")
            for place, order in enumerate(DONE, 1)
        ],
        pdfs=frozenset(f"invoices/{place}.pdf" for place in range(1, len(DONE) + 1)),
        available=dict(WORKLOAD.stock_at_end),
        reservations={
            (IDS[order.reference], sku): units for order in DONE for sku, units in units_by_sku(order.lines).items()
        },
        sales=_sales(),
        audit=[AuditFound(event.id, event.subject, event.type) for event in events],
    )


WELL = all_well()


def found(facts: Facts) -> set[tuple[str, str]]:
    return {(finding.kind, finding.what) for finding in judge(WORKLOAD, facts)}


def test_a_sound_system_has_no_finding() -> None:
    assert judge(WORKLOAD, WELL) == []


Change = Callable[[Facts], dict[str, Any]]
LOST: dict[str, tuple[Change, str]] = {
    "an order": (lambda facts: {"orders": facts.orders[1:]}, "order"),
    "an event": (lambda facts: {"events": facts.events[1:]}, "event order.placed"),
    "a publishing": (lambda facts: {"arrived": facts.arrived[1:]}, "publishing of order.placed"),
    "a delivery": (lambda facts: {"deliveries": dict(list(facts.deliveries.items())[1:])}, "delivery to validation"),
    "a document in SAP": (lambda facts: {"documents": facts.documents[1:]}, "SAP document"),
    "the amount in SAP": (
        lambda facts: {"documents": [replace(facts.documents[0], net_amount=Decimal(1)), *facts.documents[1:]]},
        "amount in SAP",
    ),
    "a mail": (lambda facts: {"emails": facts.emails[1:]}, "e-mail"),
    "a mail's way": (
        lambda facts: {"emails": [replace(facts.emails[0], recipients=("nobody@example.com",)), *facts.emails[1:]]},
        "e-mail to the customer",
    ),
    "an invoice": (lambda facts: {"invoices": facts.invoices[:-1]}, "invoice"),
    "a number": (lambda facts: {"invoices": facts.invoices[1:]}, "invoice number"),
    "a PDF": (lambda facts: {"pdfs": facts.pdfs - {"invoices/1.pdf"}}, "PDF"),
    "a reservation": (lambda facts: {"reservations": dict(list(facts.reservations.items())[1:])}, "reservation"),
    "units of stock": (lambda facts: {"available": _first(facts.available, lambda units: units + 1)}, "stock"),
    "sales": (lambda facts: {"sales": dict(list(facts.sales.items())[1:])}, "sales figure"),
    "an audit row": (lambda facts: {"audit": facts.audit[1:]}, "audit row"),
    "an e-mail": (lambda _: {"garbage": [GarbageFound("prove-garbage-1.", 16, 15)]}, "dead letter"),
}
DUPLICATED: dict[str, tuple[Change, str]] = {
    "an order of nobody": (
        lambda facts: {"orders": [*facts.orders, OrderFound("?", "WB-9", "STRAY", "completed")]},
        "order",
    ),
    "an event twice": (
        lambda facts: {"events": [*facts.events, replace(facts.events[0], id="again")]},
        "event order.placed",
    ),
    "an event of no order": (
        lambda facts: {"events": [*facts.events, EventFound("stray", "order.placed", "nobody")]},
        "event order.placed",
    ),
    "an arrival of what was never recorded": (lambda facts: {"arrived": [*facts.arrived, "stray"]}, "event"),
    "a delivery of what was never recorded": (
        lambda facts: {"deliveries": {**facts.deliveries, ("sap", "stray"): "done"}},
        "delivery to sap",
    ),
    "a second document": (lambda facts: {"documents": [*facts.documents, facts.documents[0]]}, "SAP document"),
    "a document of no order": (
        lambda facts: {"documents": [*facts.documents, replace(facts.documents[0], order_id="?")]},
        "SAP document",
    ),
    "a second mail": (lambda facts: {"emails": [*facts.emails, facts.emails[0]]}, "e-mail"),
    "a mail under another Message-ID": (
        lambda facts: {"emails": [*facts.emails, replace(facts.emails[0], message_id="<other@waybill.example>")]},
        "e-mail",
    ),
    "an invoice of no order": (
        lambda facts: {"invoices": [*facts.invoices, replace(facts.invoices[-1], order_id="?", sequence=99)]},
        "invoice",
    ),
    "a PDF of no invoice": (lambda facts: {"pdfs": facts.pdfs | {"invoices/99.pdf"}}, "PDF"),
    "units taken twice": (lambda facts: {"available": _first(facts.available, lambda units: units - 1)}, "stock"),
    "a reservation of too much": (
        lambda facts: {"reservations": _first(facts.reservations, lambda units: units + 1)},
        "reservation",
    ),
    "sales counted twice": (
        lambda facts: {"sales": _first(facts.sales, lambda sold: (2 * sold[0], 2 * sold[1]))},
        "sales figure",
    ),
    "an audit row of what was never recorded": (
        lambda facts: {"audit": [*facts.audit, AuditFound("stray", "?", "order.placed")]},
        "audit row",
    ),
}


def _first(values: Any, change: Callable[[Any], Any]) -> dict[Any, Any]:
    """The mapping with its first value changed."""
    key = next(iter(values))
    return {**values, key: change(values[key])}


@pytest.mark.parametrize("name", LOST)
def test_a_missing_or_different_effect_is_lost(name: str) -> None:
    change, what = LOST[name]

    assert ("lost", what) in found(replace(WELL, **change(WELL)))


@pytest.mark.parametrize("name", DUPLICATED)
def test_an_effect_that_is_there_twice_or_of_no_order_is_duplicated(name: str) -> None:
    change, what = DUPLICATED[name]

    assert ("duplicated", what) in found(replace(WELL, **change(WELL)))


def test_a_rejected_order_must_have_no_effect_of_a_completed_one() -> None:
    rejected = IDS[WORKLOAD.refused[0].order.reference]
    strange = replace(WELL.documents[0], order_id=rejected)

    assert found(replace(WELL, documents=[*WELL.documents, strange])) == {("duplicated", "SAP document")}


def test_events_of_one_order_that_change_places_are_out_of_order_and_of_several_orders_are_not() -> None:
    first, second = [event.id for event in WELL.events if event.subject == WELL.events[0].subject][:2]
    swapped = [{first: second, second: first}.get(event_id, event_id) for event_id in WELL.arrived]

    assert [finding.kind for finding in judge(WORKLOAD, replace(WELL, arrived=swapped))] == ["out_of_order"]
    assert judge(WORKLOAD, replace(WELL, arrived=[WELL.arrived[1], WELL.arrived[0], *WELL.arrived[2:]])) == []


def _mails_again(kills: list[Kill], *kept_at: float) -> list[Finding]:
    copies = [replace(WELL.emails[0], kept_at=time, file=f"{time}.eml") for time in (100.0, *kept_at)]
    return judge(WORKLOAD, replace(WELL, emails=[*WELL.emails[1:], *copies], kills=kills))


def test_a_second_copy_is_resent_after_a_kill_in_between_and_duplicated_without_one() -> None:
    assert [one.kind for one in _mails_again([Kill(101.0, 1)], 104.0)] == ["resent"]
    assert [one.kind for one in _mails_again([Kill(90.0, 1)], 104.0)] == ["duplicated"]
    assert [one.kind for one in _mails_again([Kill(105.0, 1)], 104.0)] == ["duplicated"]


def test_a_kill_explains_no_more_copies_than_it_can_have_hidden() -> None:
    assert [one.kind for one in _mails_again([Kill(101.0, 1)], 104.0, 104.5)] == ["resent", "duplicated"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"accepted": {ref: order_id for ref, order_id in IDS.items() if ref != "DEMO-00001"}}, "acceptance"),
        ({"orders": [replace(WELL.orders[0], status="reserved"), *WELL.orders[1:]]}, "order"),
        ({"scheduled": 1}, "scheduled messages"),
        ({"open_dead_letters": 2}, "dead letters"),
        ({"deliveries": _first(WELL.deliveries, lambda _: "retrying")}, "delivery to validation"),
        ({"deliveries": _first(WELL.deliveries, lambda _: "dead")}, "delivery to validation"),
    ],
)
def test_work_that_is_left_is_unfinished(changes: dict[str, Any], what: str) -> None:
    assert ("unfinished", what) in found(replace(WELL, **changes))


@pytest.mark.parametrize("consumer", [step.queue for step in STEPS])
@pytest.mark.parametrize("state", ["running", "retrying"])
def test_a_running_delivery_of_any_consumer_is_unfinished_and_is_found_once(consumer: str, state: str) -> None:
    step = next(step for step in STEPS if step.queue == consumer)
    event = next(event for event in WELL.events if event.type in step.listens_to)
    (finding,) = judge(WORKLOAD, replace(WELL, deliveries={**WELL.deliveries, (consumer, event.id): state}))

    assert (finding.kind, finding.what) == ("unfinished", f"delivery to {consumer}")
    assert finding.about in IDS


def test_an_order_that_ended_otherwise_is_lost() -> None:
    completed = next(order for order in WELL.orders if order.status == "completed")
    orders = [replace(order, status="rejected") if order is completed else order for order in WELL.orders]

    assert found(replace(WELL, orders=orders)) == {("lost", "outcome")}
