"""Events past the outbox's retention are read from the audit log: which events, when, and in what order."""

from dataclasses import replace
from uuid import uuid4

import pytest

from orders.model import Attempt, AttemptEnd, AuditedEvent, Status
from orders.tracking.timeline import EntryKind
from orders.workflow import joined_steps
from tests.support.builders.timeline_facts import (
    HEARD,
    SAP,
    WORKER,
    an_order,
    at,
    dead_letter,
    entries_of,
    message,
    timeline_with,
)


def test_events_past_retention_are_read_from_the_audit_log_with_a_remark() -> None:
    known = message(5000, 5010, 5020, type="order.validated")
    audited = [AuditedEvent(uuid4(), "order.placed", at(4)), AuditedEvent(known.event_id, known.type, at(4999))]
    timeline = timeline_with(messages=[known], audited=audited)
    assert [(one.event, one.at) for one in entries_of(timeline, EntryKind.COMMITTED)] == [
        ("order.placed", at(4)),
        ("order.validated", at(5000)),
    ]
    assert [one.event for one in entries_of(timeline, EntryKind.PUBLISHED)] == ["order.validated"]
    assert timeline.remarks == (
        "an event is past retention, read from the audit log: times of publish and confirm are not known any more",
    )


def test_an_event_is_forgotten_also_when_a_later_message_of_it_is_kept() -> None:
    event_id = uuid4()
    for facts in ({"destination": "sap"}, {"destination": "sap", "generation": 2}, {"generation": 2}):
        later = replace(message(5000, 5010, 5020, type=HEARD, **facts), event_id=event_id)
        first = replace(message(20, 30, 40, type=HEARD), event_id=event_id)
        audited = [AuditedEvent(event_id, HEARD, at(19))]
        timeline = timeline_with(messages=[later], audited=audited)
        assert [one.at for one in entries_of(timeline, EntryKind.COMMITTED)] == [at(19), at(5000)]
        assert [remark[:27] for remark in timeline.remarks] == ["an event is past retention,"]
        timeline = timeline_with(messages=[first, later], audited=audited)
        assert [one.at for one in entries_of(timeline, EntryKind.COMMITTED)] == [at(20), at(5000)]
        assert timeline.remarks == ()


@pytest.mark.parametrize("skew", [-2000, 0, 2000])
def test_where_clocks_differ_no_forgotten_event_is_before_its_cause_or_after_its_consequence(skew: float) -> None:
    """The hosts that recorded the events are behind, right, or ahead."""
    kinds = ["order.placed", "order.validated", HEARD, "order.synced", "order.fulfilled", "order.completed"]
    audited = [AuditedEvent(uuid4(), kind, at(5 + 100 * number + skew)) for number, kind in enumerate(kinds)]
    line = ["validate_order", "reserve_inventory", SAP]
    path = [
        *zip(line, kinds, strict=False),
        *((step, "order.synced") for step in joined_steps()),
        ("finalize_order", kinds[4]),
    ]
    begins = [20, 120, 220, 320, 330, 340, 440]
    ends = [104, 204, 304, 350, 404, 390, 504]
    attempts = [
        Attempt(step, kind, 1, 0, 1, WORKER, at(begin), at(end), AttemptEnd.DONE)
        for (step, kind), begin, end in zip(path, begins, ends, strict=True)
    ]
    entries = timeline_with(order=an_order(Status.COMPLETED, at(504)), audited=audited, attempts=attempts).entries
    order = [
        f"{one.what} {one.step or one.event or ''}".strip() for one in entries if one.what is not EntryKind.COMPLETED
    ]
    assert order == [
        "accepted",
        "committed order.placed",
        "attempt validate_order",
        "committed order.validated",
        "attempt reserve_inventory",
        f"committed {HEARD}",
        f"attempt {SAP}",
        "committed order.synced",
        *(f"attempt {step}" for step in joined_steps()),
        "committed order.fulfilled",
        "attempt finalize_order",
        "committed order.completed",
    ]
    if skew == 0:
        committed = [one.at for one in entries if one.what is EntryKind.COMMITTED]
        assert committed == [one.occurred_at for one in audited]


def test_a_forgotten_event_comes_before_its_later_message_and_its_dead_letter() -> None:
    event_id = uuid4()
    audited = [AuditedEvent(event_id, HEARD, at(9000))]
    again = replace(message(5000, type=HEARD, destination="sap", generation=2), event_id=event_id)
    timeline = timeline_with(
        audited=audited, messages=[again], dead_letters=[dead_letter(event_id=event_id, seen=8000)]
    )
    assert [(one.at, one.generation) for one in entries_of(timeline, EntryKind.COMMITTED)] == [
        (at(5000), None),
        (at(5000), 2),
    ]
    timeline = timeline_with(audited=audited, dead_letters=[dead_letter(event_id=event_id, seen=8000)])
    assert [one.what for one in timeline.entries] == [EntryKind.ACCEPTED, EntryKind.COMMITTED, EntryKind.DEAD_LETTER]
