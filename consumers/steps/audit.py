"""Keep every event for good."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import RecordingStep
from orders import books
from outbox.envelope import Event


class RecordAudit(RecordingStep):
    """Every event type, by name -> a row of the audit log, which is its own inbox row."""

    async def record(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> bool:  # noqa: ARG002
        """Keep the event; False when it was kept before."""
        return await books.write_audit(tx, order_id, event)
