"""The analytics step: adds the order to the sales of its day."""

from sqlalchemy.ext.asyncio import AsyncConnection

from consumers.delivery.delivery import Delivery
from consumers.delivery.step_kinds import LocalStep
from consumers.steps.joined import joined_step_done
from orders import sales


class UpdateAnalytics(LocalStep):
    """`order.synced` -> revenue and units per day, SKU and country."""

    async def apply(self, delivery: Delivery, tx: AsyncConnection) -> None:
        """Exact under redelivery, because the inbox row commits with the sums."""
        await sales.add_sales(tx, delivery.order_id)
        await joined_step_done(delivery, tx)


STEP_CLASS = UpdateAnalytics
