"""The facts about one order from which its timeline is made: times are milliseconds after it was placed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from orders.model import Order, RejectReason, Status
from orders.tracking.snapshot import OrderSnapshot
from orders.tracking.timeline import Entry, EntryKind, Timeline, timeline
from orders.workflow import joined_steps
from outbox.cursor.message_tracking import Message
from outbox.dead_letters.queries import DeadLetter
from outbox.envelope import lowest_id
from tests.support.builders.orders import sample_order

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SAP, HEARD = "sync_order_to_sap", "inventory.reserved"
WORKER = "worker-sap@host/7"


def at(milliseconds: float) -> datetime:
    return NOON + timedelta(milliseconds=milliseconds)


def an_order(status: Status = Status.PENDING, completed_at: datetime | None = None, *reasons: RejectReason) -> Order:
    new = sample_order()
    made_at = UUID(int=lowest_id(NOON).int | (7 << 76) | (2 << 62) | 1)
    return Order(
        reference=new.reference,
        customer=new.customer,
        currency=new.currency,
        lines=new.lines,
        id=made_at,
        number="WB-00000001",
        status=status,
        placed_at=at(4),
        completed_at=completed_at,
        reject_reasons=reasons,
        open_joins=frozenset(joined_steps()),
    )


def timeline_with(**facts: Any) -> Timeline:
    return timeline(OrderSnapshot(**{"order": an_order(), "now": at(60_000), **facts}))


def message(recorded: float, sent: float | None = None, confirmed: float | None = None, **more: Any) -> Message:
    facts: dict[str, Any] = {
        "type": "order.placed",
        "destination": None,
        "generation": 1,
        "published": sent is not None,
    }
    times = [None if one is None else at(one) for one in (sent, confirmed)]
    return Message(uuid4(), **{**facts, **more}, recorded_at=at(recorded), sent_at=times[0], confirmed_at=times[1])


def dead_letter(
    number: int = 17, state: str = "open", seen: float = 500, queue: str = "sap", **more: Any
) -> DeadLetter:
    seen_at = at(seen)
    facts: dict[str, Any] = {"event_id": uuid4(), "generation": 1, "reason": "rejected", "type": HEARD, **more}
    return DeadLetter(
        **facts,
        id=number,
        state=state,
        queue=queue,
        consumer=queue,
        subject="s",
        error_class="SapRefused",
        error="400: no",
        fingerprint=None,
        replay_count=0,
        died_at=None,
        first_seen_at=seen_at,
        last_seen_at=seen_at,
    )


def entries_of(story: Timeline, what: EntryKind) -> list[Entry]:
    return [entry for entry in story.entries if entry.what is what]
