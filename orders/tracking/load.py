"""Reads what is known of one order, for its story: a dozen index look-ups, whatever the size of the tables.

In the outbox these are in each segment that was begun since the order was placed, and in the one before them.

All of it belongs into one transaction that sees one moment (REPEATABLE READ): what ends between two of the statements
would read as something that never did.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders import repository
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
    """The same pool, each transaction seeing the moment of its first statement."""
    return engine.execution_options(isolation_level="REPEATABLE READ")


async def load_timeline(tx: AsyncConnection, order: Order) -> Timeline:
    """An order's timeline, with what it waits for."""
    subject = str(order.id)
    messages = await message_tracking.messages(tx, subject, order.placed_at)
    kept = await audited(tx, order.id)
    waiting = await message_tracking.scheduled_messages(tx, subject)
    dead_letters = await queries.find(tx, Selection(subject=subject, state=None))
    # What is past retention is still worked on: the audit log, or what waits for its time, remembers its id.
    event_ids = (
        {event.event_id for event in kept} | {one.event_id for one in messages} | {one.event_id for one in waiting}
    )
    facts = OrderSnapshot(
        order=order,
        now=(await tx.execute(_NOW)).scalar_one(),
        messages=messages,
        audited=kept,
        attempts=await repository.attempts(tx, order.id),
        steps=await repository.steps(tx, order.id),
        dead_letters=dead_letters,
        actions=await queries.histories(tx, [dead_letter.id for dead_letter in dead_letters]),
        waiting=waiting,
        leases=await message_tracking.leases(tx, BY_QUEUE, event_ids),
    )
    return timeline(facts)
