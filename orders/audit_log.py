"""The audit log: every event of an order, kept for good.

Called by the audit step and `orders.tracking.load`. No function commits.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.model import AuditedEvent
from outbox.envelope import Event

# The row is its own inbox: the same event twice is one row.
_AUDIT = text("""
INSERT INTO audit_log (event_id, order_id, type, occurred_at, data)
VALUES (:event_id, :order_id, :type, :occurred_at, CAST(:data AS jsonb))
ON CONFLICT (event_id) DO NOTHING
""")

_AUDITED = text("SELECT event_id, type, occurred_at FROM audit_log WHERE order_id = :order_id ORDER BY occurred_at")


async def write_audit(tx: AsyncConnection, order_id: UUID, event: Event) -> bool:
    """Keep an event for good; False when it was kept before."""
    values = {
        "event_id": event.id,
        "order_id": order_id,
        "type": event.type,
        "occurred_at": event.time,
        "data": event.data.decode(),
    }
    return (await tx.execute(_AUDIT, values)).rowcount == 1


async def audited(tx: AsyncConnection, order_id: UUID) -> list[AuditedEvent]:
    """The events of an order that were kept for good."""
    return [AuditedEvent(*row) for row in await tx.execute(_AUDITED, {"order_id": order_id})]
