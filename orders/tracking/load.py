"""Loads the snapshot of one order for its timeline: a dozen index look-ups, whatever the size of the tables.

The look-ups in the outbox read each segment that was begun since the order was placed, and the one before them.

All statements belong in one transaction that sees one moment (REPEATABLE READ): an attempt that ends between two of
them would read as one that never ended.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders import steps
from orders.audit_log import audited
from orders.model import Order
from orders.tracking.snapshot import OrderSnapshot
from orders.tracking.timeline import Timeline, timeline
from orders.workflow import BY_QUEUE
from outbox.cursor import message_tracking
from outbox.dead_letters import queries
from outbox.dead_letters.queries import Selection

_NOW = text("SELECT clock_timestamp()")


def repeatable_read(engine: AsyncEngine) -> AsyncEngine:
    """The same connections; each transaction sees the moment of its first statement."""
    return engine.execution_options(isolation_level="REPEATABLE READ")


async def load_timeline(tx: AsyncConnection, order: Order) -> Timeline:
    """An order's timeline, with what it waits for."""
    subject = str(order.id)
    messages = await message_tracking.messages(tx, subject, order.placed_at)
    kept = await audited(tx, order.id)
    waiting = await message_tracking.scheduled_messages(tx, subject)
    dead_letters = await queries.find(tx, Selection(subject=subject, state=None))
    # An event past retention may still be in work: the audit log or a scheduled message has its id.
    event_ids = (
        {event.event_id for event in kept} | {one.event_id for one in messages} | {one.event_id for one in waiting}
    )
    facts = OrderSnapshot(
        order=order,
        now=(await tx.execute(_NOW)).scalar_one(),
        messages=messages,
        audited=kept,
        attempts=await steps.attempts(tx, order.id),
        steps=await steps.started(tx, order.id),
        dead_letters=dead_letters,
        actions=await queries.histories(tx, [dead_letter.id for dead_letter in dead_letters]),
        waiting=waiting,
        leases=await message_tracking.leases(tx, BY_QUEUE, event_ids),
    )
    return timeline(facts)
