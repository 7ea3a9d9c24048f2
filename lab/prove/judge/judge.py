"""Judges the facts: what is lost, what was done twice, what came out of order, what is unfinished. Pure.

The measure is what HTTP accepted and the input, never a program's claim. An effect without its order, and an effect
that an order must not have, count as duplicated; an effect that differs from the one due counts as lost.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from lab.prove.judge.effects import effects
from lab.prove.judge.facts import Facts, OrderFound
from lab.prove.judge.finding import Due, Finding, accepted_orders
from lab.prove.judge.reconciliation import reconciliation
from lab.workload.expectations import Workload
from orders.workflow import STEPS

COMPLETING = frozenset(
    {"order.placed", "order.validated", "inventory.reserved", "order.synced", "order.fulfilled", "order.completed"}
)
REJECTED = frozenset({"order.placed", "order.rejected"})
# An order that runs out of stock was validated before.
OPTIONAL = frozenset({"order.validated"})
UNSETTLED = frozenset({"running", "retrying"})


def judge(workload: Workload, facts: Facts) -> list[Finding]:
    """All findings, `resent` e-mails included."""
    dues = accepted_orders(workload, facts)
    return [
        *_orders(workload, facts, dues),
        *_leftovers(facts),
        *_events(facts, dues),
        *_arrivals(facts, dues),
        *_deliveries(facts, dues),
        *effects(facts, dues),
        *reconciliation(workload, facts, dues),
    ]


def _orders(workload: Workload, facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """Each accepted order is stored once and ended as it had to."""
    for one in workload.orders:
        if one.order.reference not in facts.accepted:
            yield Finding("unfinished", "acceptance", one.order.reference)
    stored = {order.id: order for order in facts.orders}
    for order in facts.orders:
        if order.id not in dues:
            yield Finding("duplicated", "order", order.reference, f"HTTP never accepted {order.id}")
    for due in dues.values():
        yield from _outcome(due, stored.get(due.id))


def _outcome(due: Due, found: OrderFound | None) -> Iterator[Finding]:
    if found is None or found.reference != due.reference:
        yield Finding("lost", "order", due.reference, f"there is no order {due.id} with that reference")
    elif found.status not in {"completed", "rejected"}:
        yield Finding("unfinished", "order", due.reference, f"{found.number} is {found.status}")
    elif due.completes != (found.status == "completed"):
        yield Finding("lost", "outcome", due.reference, f"{found.number} is {found.status}")


def _leftovers(facts: Facts) -> Iterator[Finding]:
    """No message is scheduled, no dead letter is open, and all garbage is kept as dead letters."""
    if facts.scheduled:
        yield Finding("unfinished", "scheduled messages", "outbox.scheduled", f"{facts.scheduled} are left")
    for garbage in facts.garbage:
        for _ in range(garbage.pieces - garbage.dead_letters):
            yield Finding(
                "lost",
                "dead letter",
                garbage.mark,
                f"{garbage.dead_letters} of {garbage.pieces} messages are dead letters",
            )
    if facts.open_dead_letters:
        yield Finding("unfinished", "dead letters", "outbox.dead_letters", f"{facts.open_dead_letters} are open")


def _events(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """Each order has each of its events once, and no other."""
    counts = Counter((event.subject, event.type) for event in facts.events)
    for due in dues.values():
        for event_type in COMPLETING if due.completes else REJECTED:
            if not counts[due.id, event_type]:
                yield Finding("lost", f"event {event_type}", due.reference)
    for (subject, event_type), count in counts.items():
        known = dues.get(subject)
        allowed = known is not None and event_type in (COMPLETING if known.completes else REJECTED | OPTIONAL)
        for _ in range(count - allowed):
            yield Finding("duplicated", f"event {event_type}", known.reference if known else subject)


def _arrivals(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """Each recorded event reached the broker; per order the first copies arrived in the order of their commits."""
    positions = {event.id: position for position, event in enumerate(facts.events)}
    furthest: dict[str, int] = {}
    for event_id in facts.arrived:
        position = positions.get(event_id)
        if position is None:
            yield Finding("duplicated", "event", event_id, "it arrived and was never recorded")
            continue
        event = facts.events[position]
        if position < furthest.get(event.subject, -1):
            after = facts.events[furthest[event.subject]]
            yield Finding("out_of_order", event.type, _name(dues, event.subject), f"it arrived after {after.type}")
        furthest[event.subject] = max(position, furthest.get(event.subject, -1))
    for event_id in positions.keys() - set(facts.arrived):
        event = facts.events[positions[event_id]]
        yield Finding("lost", f"publishing of {event.type}", _name(dues, event.subject), f"{event_id} never arrived")


def _deliveries(facts: Facts, dues: Mapping[str, Due]) -> Iterator[Finding]:
    """The inbox: each event is done by each step that listens to it, except audit, whose row is its inbox row.

    No delivery of any step is running or retrying any more: audit has a row here only while it retries.
    """
    recorded = {event.id: event for event in facts.events}
    for event in facts.events:
        for step in STEPS:
            if not step.tracked or event.type not in step.listens_to:
                continue
            state = facts.deliveries.get((step.queue, event.id))
            if state is None:
                yield Finding("lost", f"delivery to {step.queue}", _name(dues, event.subject), f"of {event.id}")
            elif state != "done" and state not in UNSETTLED:
                about = _name(dues, event.subject)
                yield Finding("unfinished", f"delivery to {step.queue}", about, f"{event.id} is {state}")
    for (consumer, event_id), state in facts.deliveries.items():
        if state == "done" and event_id not in recorded:
            yield Finding("duplicated", f"delivery to {consumer}", event_id, "of an event that was never recorded")
        elif state in UNSETTLED:
            about = _name(dues, recorded[event_id].subject) if event_id in recorded else event_id
            yield Finding("unfinished", f"delivery to {consumer}", about, f"{event_id} is {state}")


def _name(dues: Mapping[str, Due], order_id: str) -> str:
    return dues[order_id].reference if order_id in dues else order_id
