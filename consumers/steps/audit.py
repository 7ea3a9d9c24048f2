"""The audit step: keeps every event for good."""

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import RecordingStep
from orders import audit_log


class RecordAudit(RecordingStep):
    """Every event type, by name -> a row of the audit log, which is its own inbox row."""

    async def record(self, delivery: Delivery, tx: AsyncConnection) -> bool:
        """Keep the event; False when it was kept before."""
        return await audit_log.write_audit(tx, delivery.order_id, delivery.event)


STEP_CLASS = RecordAudit
