"""Add the order to the sales of its day."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.context import Workplace
from consumers.delivery.step_kinds import LocalStep
from consumers.steps.joined import joined_step_done
from orders import books
from outbox.envelope import Event


class UpdateAnalytics(LocalStep):
    """`order.synced` -> revenue and units per day, SKU and country."""

    async def apply(self, place: Workplace, tx: AsyncConnection, order_id: UUID, event: Event) -> None:  # noqa: ARG002
        """Exact under redelivery, because the inbox row commits with the sums."""
        await books.add_sales(tx, order_id)
        await joined_step_done(place, tx, order_id, "update_analytics")
